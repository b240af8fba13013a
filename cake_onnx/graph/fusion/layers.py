"""LayerNorm (Ba et al., arXiv 1607.06450), and products with a stored matrix plus a stored vector."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter.pattern import OrValue, RewriteRule, RewriteRuleSet

from cake_onnx.graph.fusion.values import (
    Op,
    Pattern,
    attributes,
    claimed,
    integers,
    number,
    rank,
    second_input,
)
from cake_onnx.graph.operators.registry import own_domain

_NORM = own_domain("", 17)


def rules() -> RewriteRuleSet:
    """All of them, each with its conditions.

    onnxscript's LayerNorm has the axes as an input, so it is one of opset 18 or later, and exporters use the
    operator itself since opset 17. Its products become a Gemm, which has two axes.
    """
    return RewriteRuleSet(
        [
            RewriteRule(_scaled, _layer_norm, _is_layer_norm),
            RewriteRule(_shifted, _layer_norm_with_shift, _is_shift),
            RewriteRule(lambda op, x, weight, bias: op.Add(op.MatMul(x, weight), bias), _dense, _is_dense),
        ],
        commute=True,
    )


def _scaled(op: Op, x: Pattern, epsilon: Pattern, scale: Pattern) -> Pattern:
    mean = op.ReduceMean(x, _allow_other_inputs=True, _outputs=["mean"])
    centred = op.Sub(x, mean)
    squared = OrValue([op.Pow(centred, 2), op.Mul(centred, centred)])
    variance = op.ReduceMean(squared, _allow_other_inputs=True, _outputs=["variance"])
    deviation = op.Sqrt(op.Add(variance, epsilon))
    return op.Mul(OrValue([op.Div(centred, deviation), op.Mul(centred, op.Reciprocal(deviation))]), scale)


def _shifted(op: Op, x: Pattern, scale: Pattern, shift: Pattern) -> Pattern:
    return op.Add(op.LayerNormalization(x, scale, _domain=_NORM, _outputs=["normal"]), shift)


def _is_layer_norm(
    context: object, x: ir.Value, mean: ir.Value, variance: ir.Value, epsilon: ir.Value, scale: ir.Value
) -> bool:
    first = _first_axis(mean, x)
    same = first is not None and _first_axis(variance, x) == first
    return same and number(epsilon) is not None and _fits(scale, -(first or 0))


def _layer_norm(
    op: Op, x: ir.Value, mean: ir.Value, epsilon: ir.Value, scale: ir.Value, **_: ir.Value
) -> ir.Value:
    axis = _first_axis(mean, x)
    return claimed(op, "LayerNormalization", 17, x, scale, axis=axis, epsilon=number(epsilon))


def _is_shift(context: object, normal: ir.Value, shift: ir.Value, **_: ir.Value) -> bool:
    return _fits(shift, -attributes(normal)["axis"].as_int())


def _layer_norm_with_shift(
    op: Op, x: ir.Value, scale: ir.Value, shift: ir.Value, normal: ir.Value
) -> ir.Value:
    return claimed(op, "LayerNormalization", 17, x, scale, shift, **attributes(normal))


def _fits(value: ir.Value, axes: int) -> bool:
    """Whether it is stored, and has no more axes than are normalised: others would differ in the batch."""
    return value.const_value is not None and len(value.const_value.shape) <= axes


def _first_axis(reduced: ir.Value, x: ir.Value) -> int | None:
    """Counted from the end, the axis from which on a ReduceMean averages; None where it does otherwise."""
    keeps, listed = (attributes(reduced).get(name) for name in ("keepdims", "axes"))
    axes = list(listed.as_ints()) if listed is not None else integers(second_input(reduced))
    if not axes or (keeps is not None and not keeps.as_int()):
        return None
    if min(axes) >= 0:
        axes = [axis - (rank(x) or 0) for axis in axes]
    return -len(axes) if sorted(axes) == list(range(-len(axes), 0)) else None


def _is_dense(context: object, weight: ir.Value, bias: ir.Value, **found: ir.Value) -> bool:
    matrix, vector = weight.const_value, bias.const_value
    if matrix is None or vector is None or matrix.dtype != ir.DataType.FLOAT:
        return False
    return len(matrix.shape) == 2 and list(vector.shape) == [matrix.shape[1]]


def _dense(op: Op, x: ir.Value, weight: ir.Value, bias: ir.Value) -> ir.Value:
    # Of stored weights our Gemm becomes an nn.Linear, which takes any number of axes.
    return claimed(op, "Gemm", 13, x, weight, bias)
