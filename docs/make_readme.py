"""Fill the generated parts of README.md and docs/method.md: option tables, help, default settings.

    python docs/make_readme.py           # write both anew
    python docs/make_readme.py --check   # exit 1 if one is not what would be written

A part lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; everything else is written by hand.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cake_onnx.cli.main import group
from cake_onnx.cli.options import default_of, metavar_of
from cake_onnx.config import Config, flag_of
from cake_onnx.diffuse import Diffusion, Published
from cake_onnx.distill import Distillation, PublishedDistillation
from cake_onnx.methods.settings import Narrowing, RoundSettings

ROOT = Path(__file__).resolve().parent.parent
_WIDTH = 96
_MARK = re.compile(r"(<!-- (\w+):begin -->\n)(.*?)(<!-- \2:end -->)", re.DOTALL)


def options_table() -> str:
    """Every field of the configuration: flag, values, default, meaning."""
    rows = [("option", "default", "what it says")]
    for name, field in Config.model_fields.items():
        flag = flag_of(name) if field.annotation is bool else f"{flag_of(name)} {metavar_of(name)}"
        rows.append((f"`{flag}`", default_of(field), field.description or ""))
    return table(rows)


def switches_table() -> str:
    """The flags that are no fields: where files go and what is shown."""
    commands_of: dict[tuple[str, str], list[str]] = {}
    for name, command in group.commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and option.name not in Config.model_fields:
                shown = ", ".join(f"`{word}`" for word in option.opts)
                commands_of.setdefault((shown, option.help or ""), []).append(name)
    rows = [("option", "of", "what it does")]
    for (shown, text), names in commands_of.items():
        rows.append((shown, "all" if len(names) == len(group.commands) else ", ".join(names), text))
    return table(rows)


def help_text() -> str:
    """What `cake-onnx --help` prints, at a width that depends on no terminal."""
    context = click.Context(
        group, info_name="cake-onnx", terminal_width=_WIDTH, help_option_names=["-h", "--help"]
    )
    return f"```text\n{group.get_help(context).rstrip()}\n```\n"


def settings_line(settings: type[Any]) -> str:
    """Name and default of each number in a dataclass of settings; its docstring has the meanings."""
    numbers = [field for field in dataclasses.fields(settings) if field.default is not dataclasses.MISSING]
    shown = ", ".join(f"`{field.name}` {_number(field.default)}" for field in numbers)
    return textwrap.fill(f"Defaults of `{settings.__name__}`: {shown}.", 110) + "\n"


PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"help": help_text, "options": options_table, "switches": switches_table},
    "docs/method.md": {
        "rounds": lambda: settings_line(RoundSettings),
        "diffusion": lambda: settings_line(Diffusion),
        "distillation": lambda: settings_line(Distillation),
        "narrowing": lambda: settings_line(Narrowing),
        "published": lambda: settings_line(Published),
        "published_distillation": lambda: settings_line(PublishedDistillation),
    },
}


def fill(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """`text` with every generated part as it should be.

    Raises:
        ValueError: A part has no place in `text`, or a place has no part.
    """
    places = {match[2] for match in _MARK.finditer(text)}
    if places != set(parts):
        raise ValueError(f"there are places for {sorted(places)}, and parts {sorted(parts)}")
    return _MARK.sub(lambda match: match[1] + parts[match[2]]() + match[4], text)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def stale() -> dict[Path, str]:
    """Every file that is not as it should be, with the text it should have."""
    wanted = {ROOT / name: fill((ROOT / name).read_text("utf-8"), parts) for name, parts in PARTS.items()}
    return {path: text for path, text in wanted.items() if path.read_text("utf-8") != text}


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as a table of Markdown, the first being its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write or check."""
    found = stale()
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(path.relative_to(ROOT)) for path in found)
        sys.exit(f"stale: {names}; run python docs/make_readme.py" if found else 0)
    for path, text in found.items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
