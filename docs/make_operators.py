"""Write docs/operators.md: operators, versions, who converts them, how they were tested, what is missing.

    python docs/make_operators.py           # write it anew
    python docs/make_operators.py --check   # exit 1 if it is not what would be written

Who converts what is read from the registry, results of onnx's node tests from
benchmarks/results/conversion_nodes.csv (`python benchmarks/conversion --only nodes` writes it), and whether
there is a test of our own from the files under tests/graph.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from onnx import defs

from cake_onnx.graph import operators as families
from cake_onnx.graph.operators import registry
from cake_onnx.graph.refuse import REASONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "operators.md"
NODES = ROOT / "benchmarks" / "results" / "conversion_nodes.csv"
_DOMAINS = {"": "ai.onnx", registry.ML: registry.ML, registry.MICROSOFT: registry.MICROSOFT}
_WRITTEN_OUT = {
    **dict.fromkeys(("If", "Loop", "Scan"), "written out where branch and length do not depend on the data"),
    **dict.fromkeys(
        (
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
        ),
        "written out where the elements are known one by one",
    ),
    **dict.fromkeys(("SplitToSequence", "ConcatFromSequence"), "written out with the sequence between them"),
    "SequenceMap": "written out where the elements are known one by one",
    "LinearClassifier": "written out as product, activation and label",
    "ZipMap": "kept for the student, scores are read before it",
    "LabelEncoder": "kept for the student where it makes labels of classes",
    "CategoryMapper": "kept for the student where it makes labels of classes",
    "Constant": "folded",
}
"""What preparation does with operators that need no converter, or not always."""
_DETECTION = "it selects boxes, and belongs to detectors"
_NOT_CLASSIFYING = {
    **dict.fromkeys(("NonMaxSuppression", "RoiAlign", "MaxRoiPool"), _DETECTION),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), "it is a loss, for training"),
    **dict.fromkeys(("Optional", "OptionalGetElement", "OptionalHasElement"), "it makes presence a value"),
    "ImageDecoder": "it reads the bytes of a picture file",
    "CastMap": "it works on maps, which cannot be moved by a gradient",
}
"""Operators that onnx2torch or a function body would reach, and others, with the reason."""


@dataclass(frozen=True)
class Line:
    """One operator.

    Attributes:
        domain: As ONNX writes it.
        name: Of the operator.
        ours: Versions converted by us.
        engine: Versions converted by onnx2torch.
        expanded: Versions that ONNX defines by simpler operators, and that are written out so.
        missing: Versions that are refused.
        passed: Node tests passed, right values in another type counted, and all of them.
        tested: There is a test of our own.
    """

    domain: str
    name: str
    ours: tuple[int, ...]
    engine: tuple[int, ...]
    expanded: tuple[int, ...]
    missing: tuple[int, ...]
    passed: tuple[int, int]
    tested: bool

    @property
    def converts(self) -> bool:
        """Whether any version does, by itself or written out."""
        return bool(self.ours or self.engine or self.expanded)


def lines() -> list[Line]:
    """Every operator that ONNX or the registry knows, deprecated ones included."""
    known: dict[tuple[str, str], set[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain in _DOMAINS:
            known.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    for domain, name, version in registry.registered():
        known.setdefault((domain, name), set()).add(version)
    order = list(_DOMAINS)
    keys = sorted(known, key=lambda key: (order.index(key[0]), key[1].lower()))
    return [_line(domain, name, sorted(known[domain, name])) for domain, name in keys]


def _line(domain: str, name: str, versions: Sequence[int]) -> Line:
    parts: dict[str, list[int]] = {"ours": [], "engine": [], "expanded": [], "missing": []}
    for version in versions:
        parts[_who(domain, name, version)].append(version)
    passed = _node_results().get(name, (0, 0)) if not domain else (0, 0)
    split = {who: tuple(found) for who, found in parts.items()}
    return Line(domain, name, **split, passed=passed, tested=_has_test(name))


def _who(domain: str, name: str, version: int) -> str:
    if registry.is_ours(domain, name, version):
        return "ours"
    if name in _NOT_CLASSIFYING or (name in REASONS and name not in _WRITTEN_OUT):
        return "missing"
    if registry.has_converter(domain, name, version):
        return "engine"
    schema = defs.get_schema(name, version, domain)
    # The stub files of onnx leave these two out.
    spelled = any(getattr(schema, kind) for kind in ("has_function", "has_context_dependent_function"))
    return "expanded" if spelled else "missing"


@cache
def _node_results() -> dict[str, tuple[int, int]]:
    results: dict[str, tuple[int, int]] = {}
    with NODES.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            passed, total = results.get(row["operator"], (0, 0))
            right = int(row["pass"]) + int(row["other type"])
            every = right + sum(int(row[key]) for key in ("unsupported", "wrong", "raises"))
            results[row["operator"]] = (passed + right, total + every)
    return results


@cache
def _tests() -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "tests" / "graph").rglob("*.py")))


def _has_test(name: str) -> bool:
    """Whether a test names the operator: as text of its own, or in a graph written as text."""
    return re.search(rf"""["']{name}["']|= (?:[\\w.]+\\.)?{name}\\s*[<(]""", _tests()) is not None


def render(found: Iterable[Line]) -> str:
    """The page."""
    found = list(found)
    parts = [_INTRODUCTION]
    for domain, title in _DOMAINS.items():
        converting = [line for line in found if line.domain == domain and _is_reached(line)]
        parts.append(f"## {title}\n\n{_table(map(_row, converting))}")
    parts += [f"## Not supported\n\n{_REFUSED}\n\n{_missing(found)}"]
    return "\n\n".join(parts) + "\n"


def _is_reached(line: Line) -> bool:
    return line.converts or line.name in _WRITTEN_OUT


def _row(line: Line) -> tuple[str, ...]:
    by = [
        f"{who} {', '.join(map(str, versions))}"
        for who, versions in (("ours", line.ours), ("onnx2torch", line.engine), ("function", line.expanded))
        if versions
    ]
    by += [_WRITTEN_OUT[line.name]] if line.name in _WRITTEN_OUT else []
    missing = ", ".join(map(str, line.missing)) if line.name not in _WRITTEN_OUT else ""
    tests = f"{line.passed[0]} of {line.passed[1]}" if line.passed[1] else "-"
    return line.name, "; ".join(by), missing or "-", tests, "yes" if line.tested else "no"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head = ("operator", "converted by, in which versions", "refused versions", "node tests", "own test")
    cells = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([cells[0], "|---" * len(head) + "|", *cells[1:]])


def _missing(found: Sequence[Line]) -> str:
    rows = [(f"{line.name} ({_DOMAINS[line.domain]})", _why(line)) for line in found if not _is_reached(line)]
    return "\n".join(["| operator | why |", "|---|---|", *(f"| {name} | {why} |" for name, why in rows)])


def _why(line: Line) -> str:
    if line.name in REASONS:
        return REASONS[line.name][0]
    if line.name in _NOT_CLASSIFYING:
        return _NOT_CLASSIFYING[line.name]
    newest = defs.get_schema(line.name, line.missing[-1], line.domain)
    if newest.deprecated:
        return "it was taken out of ONNX"
    return "no classifier is known to use it"


_INTRODUCTION = """# Operators

Generated by `python docs/make_operators.py` from the registry of operators, the results of onnx's node tests
in benchmarks/results/conversion_nodes.csv and the tests of this repository; do not edit. Versions are those
in which an operator was last changed ("since version" of the ONNX operator pages). `ours` are converters of
`cake_onnx/graph/operators`, `onnx2torch` its own, `function` operators that ONNX itself defines by simpler
ones, which are written out. A node test passes where its values are right, in whatever element type.
Attributes that a converter does not know, and uses that it cannot convert, are refused by name."""


_REFUSED = """A file whose scores need one of these is refused in one message: operator, version, node, this
reason, and what to do. Behind the scores, in what makes labels of them, most may stand."""


def main() -> None:
    """Write or check."""
    assert families.__all__  # importing the families has filled the registry
    wanted = render(lines())
    if "--check" in sys.argv[1:]:
        stale = not PAGE.exists() or PAGE.read_text("utf-8") != wanted
        sys.exit("stale: run python docs/make_operators.py" if stale else 0)
    PAGE.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main()
