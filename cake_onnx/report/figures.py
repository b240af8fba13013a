"""From a matplotlib figure to an inline SVG that follows the reader's light or dark setting.

Figures are made through `Figure` objects, never pyplot, so nothing is shared between two calls and no
display is needed. The bytes depend on the data and on the version of matplotlib alone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

import matplotlib.style
from matplotlib.figure import Figure

# Placeholders matplotlib draws with; each becomes a CSS variable of the finished SVG.
INK: Final = "#010203"
FAINT: Final = "#010204"
PAPER: Final = "#010205"
TEACHER: Final = "#010206"
STUDENT: Final = "#010207"
WARN: Final = "#010208"

_VARIABLES: Final = {
    INK: "ink",
    FAINT: "faint",
    PAPER: "paper",
    TEACHER: "teacher",
    STUDENT: "student",
    WARN: "warn",
}
_LIGHT: Final = {
    "ink": "#43423d", "faint": "#dedcd3", "paper": "#ffffff", "teacher": "#3d6bb3", "student": "#c2571a",
    "warn": "#b3261e",
}  # fmt: skip
_DARK: Final = {
    "ink": "#c9c6bc", "faint": "#3c3b37", "paper": "#211f1c", "teacher": "#84b0f2", "student": "#f0995c",
    "warn": "#ff8a80",
}  # fmt: skip
_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none", "svg.hashsalt": "cake-onnx", "font.family": "DejaVu Sans", "font.size": 9.0,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none", "axes.grid": True,
    "grid.color": FAINT, "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "xtick.major.size": 0.0, "ytick.major.size": 0.0, "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0, "lines.linewidth": 1.8, "legend.frameon": False, "axes.titlesize": 9.5,
    "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A picture for the page.

    Attributes:
        uri: `data:` address that holds the whole picture.
        alt: What it shows, in words.
        width: Natural width, CSS pixels.
        height: Natural height, CSS pixels.
    """

    uri: str
    alt: str
    width: int
    height: int


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` by `height` inches in the page's style.

    Draw and call `to_image` inside the block: matplotlib reads its style when it writes.
    """
    with matplotlib.style.context(["default", _STYLE]):
        yield Figure(figsize=(width, height), layout="constrained")


def to_image(figure: Figure, alt: str) -> Image:
    """The figure as SVG in a `data:` address.

    Args:
        figure: Made by `drawing`, inside its block.
        alt: What it shows, in words.
    """
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    width, height = (round(96 * float(inches)) for inches in figure.get_size_inches())
    return Image(svg_uri(_themed(out.getvalue())), alt, width, height)


def svg_uri(text: str) -> str:
    """An SVG document as `data:` address."""
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode("ascii")


def _themed(text: str) -> str:
    # The XML prologue names a document type by address; browsers need neither.
    text = text[text.index("<svg") :]
    for placeholder, name in _VARIABLES.items():
        text = text.replace(placeholder, f"var(--{name})")
    text = text.replace("'DejaVu Sans'", "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans'")
    dark = f"@media (prefers-color-scheme: dark){{{_declare(_DARK)}}}"
    style = f"<style>{_declare(_LIGHT)}{dark}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda found: found.group(1) + style, text, count=1)


def _declare(colours: dict[str, str]) -> str:
    return ":root{" + "".join(f"--{name}:{value};" for name, value in colours.items()) + "}"
