"""The published JSON schema as text.

`python -m cake_onnx.report.schema > docs/report.schema.json` writes it anew.
"""

from __future__ import annotations

import json
import sys

from cake_onnx.report.model import json_schema


def schema_text() -> str:
    """The text of `docs/report.schema.json`, with a final newline."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
