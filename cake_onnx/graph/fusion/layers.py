"""LayerNorm (Ba et al., arXiv 1607.06450), and a product with a stored matrix with a stored vector added."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter.pattern import OrValue, RewriteRule, RewriteRuleSet

from cake_onnx.graph.fusion.values import Op, Pattern, claimed, integers, number, rank


def rules() -> RewriteRuleSet:
    """Both, each with its conditions.

    onnxscript's LayerNorm has the axes as an input, so it is one of opset 18 or later, and exporters use the
    operator itself since opset 17. Its products become a Gemm, which has two axes.
    """
    return RewriteRuleSet(
        [
            RewriteRule(_shifted, _layer_norm, _is_layer_norm),
            RewriteRule(_scaled, _layer_norm, _is_layer_norm),
            RewriteRule(lambda op, x, weight, bias: op.Add(op.MatMul(x, weight), bias), _dense, _is_dense),
        ],
        commute=True,
    )


def _shifted(op: Op, x: Pattern, epsilon: Pattern, scale: Pattern, shift: Pattern) -> Pattern:
    return op.Add(_scaled(op, x, epsilon, scale), shift)


def _scaled(op: Op, x: Pattern, epsilon: Pattern, scale: Pattern) -> Pattern:
    mean = op.ReduceMean(x, _allow_other_inputs=True, _outputs=["mean"])
    centred = op.Sub(x, mean)
    squared = OrValue([op.Pow(centred, 2), op.Mul(centred, centred)])
    variance = op.ReduceMean(squared, _allow_other_inputs=True, _outputs=["variance"])
    deviation = op.Sqrt(op.Add(variance, epsilon))
    return op.Mul(OrValue([op.Div(centred, deviation), op.Mul(centred, op.Reciprocal(deviation))]), scale)


def _is_layer_norm(
    context: object, x: ir.Value, mean: ir.Value, variance: ir.Value, epsilon: ir.Value, **affine: ir.Value
) -> bool:
    first = _first_axis(mean, x)
    if first is None or _first_axis(variance, x) != first or number(epsilon) is None:
        return False
    # One with more axes than are normalised would change the shape, or differ between samples.
    return all(
        value.const_value is not None and len(value.const_value.shape) <= -first for value in affine.values()
    )


def _layer_norm(
    op: Op, x: ir.Value, mean: ir.Value, epsilon: ir.Value, scale: ir.Value, **found: ir.Value
) -> ir.Value:
    shift = [found["shift"]] if "shift" in found else []
    axis = _first_axis(mean, x)
    return claimed(op, "LayerNormalization", 17, x, scale, *shift, axis=axis, epsilon=number(epsilon))


def _first_axis(reduced: ir.Value, x: ir.Value) -> int | None:
    """Counted from the end, the axis from which on a ReduceMean averages; None where it does otherwise."""
    node = reduced.producer()
    assert node is not None
    keeps, listed = node.attributes.get("keepdims"), node.attributes.get("axes")
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else list(listed.as_ints()) if listed else None
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
