"""GELU (Hendrycks and Gimpel, arXiv 1606.08415), exact and by tanh, and SiLU."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir
from onnxscript.rewriter.ort_fusions import erfgelu, gelu
from onnxscript.rewriter.pattern import RewriteRule, RewriteRuleSet

from cake_onnx.graph.fusion.values import Op, Pattern, claimed


def rules() -> RewriteRuleSet:
    """x/2 · (1 + erf(x/√2)), x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) and x · sigmoid(x).

    onnxscript has the first with a division, unless x is halved first, and the second with a halved gate.
    """
    ours = [
        RewriteRule(_gelu(_quotient, _halved_first), _exact),
        RewriteRule(_gelu(_product, _halved_first), _exact),
        RewriteRule(_gelu(_product, _halved_last), _exact),
        RewriteRule(_gelu(_product, _halved_gate), _exact),
        RewriteRule(_gelu(_cubic, _halved_first), _by_tanh),
        RewriteRule(_gelu(_cubic, _halved_last), _by_tanh),
        RewriteRule(lambda op, x: op.Mul(x, op.Sigmoid(x)), _silu),
    ]
    return RewriteRuleSet([*gelu.gelu_rules.rules, *erfgelu.rules.rules, *ours], commute=True)


def _gelu(
    gate: Callable[[Op, Pattern], Pattern], halved: Callable[[Op, Pattern, Pattern], Pattern]
) -> Callable[[Op, Pattern], Pattern]:
    return lambda op, x: halved(op, x, op.Add(gate(op, x), 1.0))


def _quotient(op: Op, x: Pattern) -> Pattern:
    return op.Erf(op.Div(x, math.sqrt(2)))


def _product(op: Op, x: Pattern) -> Pattern:
    return op.Erf(op.Mul(x, math.sqrt(0.5)))


def _cubic(op: Op, x: Pattern) -> Pattern:
    return op.Tanh(op.Mul(op.Add(x, op.Mul(op.Pow(x, 3), 0.044715)), math.sqrt(2 / math.pi)))


def _halved_first(op: Op, x: Pattern, gate: Pattern) -> Pattern:
    return op.Mul(op.Mul(x, 0.5), gate)


def _halved_last(op: Op, x: Pattern, gate: Pattern) -> Pattern:
    return op.Mul(op.Mul(x, gate), 0.5)


def _halved_gate(op: Op, x: Pattern, gate: Pattern) -> Pattern:
    return op.Mul(x, op.Mul(gate, 0.5))


def _exact(op: Op, x: ir.Value) -> ir.Value:
    return claimed(op, "Gelu", 20, x)


def _by_tanh(op: Op, x: ir.Value) -> ir.Value:
    return claimed(op, "Gelu", 20, x, approximate="tanh")


def _silu(op: Op, x: ir.Value) -> ir.Value:
    return claimed(op, "Swish", 24, x)
