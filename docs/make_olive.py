"""Fill the generated parts of docs/olive.md, in an environment that has the plugin.

python -m docs.make_olive           # write it anew
python -m docs.make_olive --check   # exit 1 if it is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cake_onnx.cli.options import default_of
from cake_onnx.config import Config
from cake_onnx_olive.names import field_of
from cake_onnx_olive.parameters import MADE_BY, Parameter, parameters
from docs.make_readme import fill, table

PAGE = Path(__file__).resolve().parent / "olive.md"


def parameters_table() -> str:
    """Every parameter of the pass: default, values of a search, meaning."""
    rows = [("parameter", "default", "a search tries", "what it says")]
    for name, parameter in parameters().items():
        tried = ", ".join(f"{value:g}" if isinstance(value, float) else value for value in parameter.tried)
        rows.append((f"`{name}`", _default(parameter), tried, parameter.help))
    return table(rows)


def _default(parameter: Parameter) -> str:
    if parameter.name == MADE_BY:
        return "versions"
    return default_of(Config.model_fields[field_of(parameter.name)])


PARTS: Mapping[str, Callable[[], str]] = {"parameters": parameters_table}


def main() -> None:
    """Write or check."""
    text = PAGE.read_text("utf-8")
    wanted = fill(text, PARTS)
    if "--check" in sys.argv[1:]:
        sys.exit("stale: docs/olive.md; run python -m docs.make_olive" if wanted != text else 0)
    PAGE.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
