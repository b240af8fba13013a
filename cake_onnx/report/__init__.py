"""What people are told about a compression: one frozen `Report`, shown as JSON, page, card and table."""
