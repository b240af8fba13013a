"""Help that starts with an example."""

from __future__ import annotations

from typing import Any

import click


class ExampleCommand(click.Command):
    """A command whose help starts with an example.

    Args:
        example: One line that works.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, then what click writes."""
        formatter.write(f"Example: {self.example}\n\n")
        super().format_help(ctx, formatter)


class ExampleGroup(ExampleCommand, click.Group):
    """A group whose help starts with an example."""
