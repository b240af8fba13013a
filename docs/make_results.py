"""Write docs/results.md and its pictures from the CSV files of benchmarks/results.

    python docs/make_results.py           # write the page and the pictures anew
    python docs/make_results.py --check   # exit 1 if the page is not what would be written

The tables are made in result_tables.py.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ledger import rows  # noqa: E402
from docs.result_tables import ablation, against, choices, every, fast, sizes, targets, teachers, ways  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
PICTURES = ROOT / "docs" / "pictures"


def page() -> str:
    """The page as Markdown."""
    lines = rows(RESULTS / "fidelity.csv")
    defaults = [line for line in lines if not line["settings"]]
    parts = [_HEAD, _section("Targets", _TARGETS, targets(defaults))]
    parts += [_section("Diffusion or none", _DIFFUSION, against(lines))]
    parts += [_section("Ways to cut", _WAYS, ways(rows(RESULTS / "student_ways.csv")))]
    for dataset, name in (("fmnist", "Fashion-MNIST"), ("mnist", "MNIST"), ("cifar10", "CIFAR-10")):
        these = [line for line in defaults if line["row"].startswith(dataset)]
        parts.append(_section(name, f"![accuracy against passes](pictures/{dataset}.svg)\n", every(these)))
    rest = [line for line in defaults if not line["row"].startswith(("fmnist", "mnist", "cifar10"))]
    parts.append(_section("Tables and points", _TABLES, every(rest)))
    parts.append(_section("Ablation", _ABLATION, ablation(lines)))
    parts.append(_section("Choices", _CHOICES, choices(lines)))
    small = sizes(rows(RESULTS / "student_sizes.csv"))
    parts.append(_section("How small", _SIZES, small))
    parts.append(_section("How fast", _FAST, fast(rows(RESULTS / "student_latency.csv"))))
    parts.append(_section("Every teacher, one run", _TEACHERS, teachers(rows(RESULTS / "teachers.csv"))))
    return "\n\n".join(parts) + "\n"


def _section(title: str, text: str, table: Sequence[tuple[str, ...]]) -> str:
    if len(table) == 1:
        return f"## {title}\n\n{text}\nMissing: nothing was measured yet."
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    return f"## {title}\n\n{text}\n" + "\n".join(lines)


def draw() -> None:
    """All pictures."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "cake-onnx"
    PICTURES.mkdir(exist_ok=True)
    _draw_curves()
    _draw_sizes()


def _draw_curves() -> None:
    """Accuracy against passes, one picture a data set, of the default settings."""
    from matplotlib import pyplot as plt

    lines = rows(RESULTS / "fidelity.csv")
    lines = [line for line in lines if not line["settings"] and line["arm"] in _STYLES]
    for dataset in ("fmnist", "mnist", "cifar10"):
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        curves: dict[tuple[str, str], dict[float, list[float]]] = {}
        for line in lines:
            if line["row"].startswith(dataset):
                curve = curves.setdefault((line["row"], line["arm"]), {})
                curve.setdefault(float(line["passes"]), []).append(100 * float(line["accuracy"]))
        colours = {row: f"C{i}" for i, row in enumerate(dict.fromkeys(row for row, _ in curves))}
        for (row, arm), curve in sorted(curves.items()):
            at = sorted(curve)
            axes.plot(
                at, [statistics.mean(curve[x]) for x in at],
                _STYLES[arm], color=colours[row], label=f"{row}, {arm}", markersize=5,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="teacher passes", ylabel="accuracy on real test images, %")
        if curves:
            axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(PICTURES / f"{dataset}.svg", metadata={"Date": None})
        plt.close(figure)


def _draw_sizes() -> None:
    """Agreement against size, a line a teacher."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in rows(RESULTS / "student_sizes.csv"):
        share = int(line["parameters_student"]) / int(line["parameters_teacher"])
        curves.setdefault(line["teacher"], []).append((share, 100 * float(line["agreement"])))
    for teacher, points in sorted(curves.items()):
        axes.plot(*zip(*sorted(points), strict=True), "o-", label=teacher, markersize=5)
    axes.set(xscale="log", xlabel="parameters left, share of the teacher's", ylabel="agreement, %")
    axes.set_xticks([1 / 30, 0.1, 0.25, 0.5], ["1/30", "1/10", "1/4", "1/2"], minor=False)
    axes.minorticks_off()
    if curves:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(PICTURES / "sizes.svg", metadata={"Date": None})
    plt.close(figure)


_STYLES = {"rounds": "o-", "images": "s--", "noise": "x:", "cake": "^-.", "lake": "v-."}
_HEAD = """# Results

Generated by `python docs/make_results.py` from [benchmarks/results](../benchmarks/results); do not edit.

Percent of real test images. A row is TEACHER/STUDENT/COMPRESSION: `auto` is what `cake-onnx compress` takes,
the teacher grown down; `half` the published LeNet-5 of half the width, from scratch. Last state of a run,
never the best. One pass is the forward pass and the gradient of one sample; a forward pass alone counts half.
No training image was used, and choices looked at the first 2,000 test images of a set only."""
_TARGETS = """\
What was aimed at, the same defaults everywhere, and the largest budget measured within it: accuracy on the
whole test set. `missing` was not measured within these passes.
"""
_DIFFUSION = """\
The question that decides the method: at equal passes, do samples at the boundary beat procedural images with
the teacher's labels, which leave the passes for more training? Agreement with the teacher on the images that
no choice looked at. `Ahead` needs three seeds of each and the worst of ours above the best of the others.
What was `changed` from the defaults was changed for both.
"""
_WAYS = """\
`python benchmarks/student/ways.py`: the same teacher made as small in several ways, at equal passes. Students
from scratch learn from logits alone, at twice the rate. On noise or procedural images alone there is more
teaching in the passes that diffusion would take. Accuracy and agreement on the whole test set.
"""
_TABLES = """\
In low dimensions noise is hard to beat.
"""
_ABLATION = """\
`benchmarks/fidelity/run.py --plan benchmarks/fidelity/ablation.plan`: one thing left out, or added, alone,
50 rounds (0.3 M passes), agreement on the images that no choice looked at. Labels cannot be stored instead of
asked for anew: what a student sees is moved and mixed first, so none that was stored would fit.
"""
_CHOICES = """\
Defaults were chosen by these runs, on the first 2,000 images of a set. `no features`: the student grown down
learns from logits alone. `features, weight constant`: what its layers read counts equally over the whole
run; the default lets that weight fall to 0.
"""
_SIZES = """\
Agreement with the teacher on real test images by size, 50 rounds (0.3 M passes) each, n = 1: `python
benchmarks/student/sizes.py`. Latency ratios are medians of onnxruntime on one thread, at batch 1 and 64.

![agreement against size](pictures/sizes.svg)
"""
_FAST = """\
`python benchmarks/student/latency.py`: students at `--max-latency-ratio`, cut at once and not taught, since
what they learn does not change how fast they are; onnxruntime on one thread, processor time over that of the
teacher.
Target: half the time at batch 64 for every convolutional teacher. LeNet-5 is out of reach with AVX-512: its
convolutions are one block of 16 channels wide, which onnxruntime computes at once whatever the width.
"""
_TEACHERS = """\
`python benchmarks/teachers.py`: every teacher through the whole command once, within minutes of one core,
most of them far from converged. Students other than like-teacher are from scratch.
"""


def main() -> None:
    """Write, or compare."""
    text = page()
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, "utf-8")
    draw()


if __name__ == "__main__":
    main()
