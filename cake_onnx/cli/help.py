"""Help that starts with an example."""

from __future__ import annotations

from typing import Any

import click


class _Example:
    """Writes the example before everything else."""

    example: str

    def write_example(self, formatter: click.HelpFormatter) -> None:
        formatter.write(f"Example: {self.example}\n\n")


class ExampleGroup(_Example, click.Group):
    """A group whose help starts with an example.

    Args:
        example: One line that works.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, then what click writes."""
        self.write_example(formatter)
        super().format_help(ctx, formatter)


class ExampleCommand(_Example, click.Command):
    """A command whose help starts with an example.

    Args:
        example: One line that works.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, then what click writes."""
        self.write_example(formatter)
        super().format_help(ctx, formatter)
