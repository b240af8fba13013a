"""Compare teacher and student, both in onnxruntime, on samples that neither was chosen by."""

from cake_onnx.judge.comparison import Comparison, Side, asker, compare, decision_grid
from cake_onnx.judge.suites import Suite
from cake_onnx.judge.verdict import CPU, Gate, LabelledResult, Verdict, judge

__all__ = [
    "CPU",
    "Comparison",
    "Gate",
    "LabelledResult",
    "Side",
    "Suite",
    "Verdict",
    "asker",
    "compare",
    "decision_grid",
    "judge",
]
