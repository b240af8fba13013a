"""Attention by heads without a mask: softmax(scale · Q Kᵀ) V (Vaswani et al., arXiv 1706.03762)."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter.pattern import RewriteRule, RewriteRuleSet

from cake_onnx.graph.fusion.values import Op, Pattern, attributes, claimed, number, rank

_AXES = 4


def rules() -> RewriteRuleSet:
    """Scaled before or after the product, by a factor or a divisor.

    onnxscript's rules make operators of onnxruntime with projections, masks and caches, of graphs of language
    models.
    """
    scores = (
        lambda op, q, k, v: op.MatMul(_weights(op, op.MatMul(q, k)), v),
        lambda op, q, k, v, factor: op.MatMul(_weights(op, op.Mul(op.MatMul(q, k), factor)), v),
        lambda op, q, k, v, divisor: op.MatMul(_weights(op, op.Div(op.MatMul(q, k), divisor)), v),
    )
    return RewriteRuleSet([RewriteRule(one, _attention, _is_attention) for one in scores], commute=True)


def _weights(op: Op, scores: Pattern) -> Pattern:
    return op.Softmax(scores, _outputs=["weights"])


def _is_attention(
    context: object, q: ir.Value, k: ir.Value, v: ir.Value, weights: ir.Value, **scaling: ir.Value
) -> bool:
    axis = attributes(weights).get("axis")
    return (
        axis is not None
        and axis.as_int() in (-1, _AXES - 1)
        and all(rank(value) == _AXES and value.const_value is None for value in (q, k, v))
        and _heads(q) == _heads(k) == _heads(v) is not None
        and all(number(value) not in (None, 0.0) for value in scaling.values())
    )


def _heads(value: ir.Value) -> int | None:
    """Number of heads, if it is known. MatMul takes one for many, which no attention operator does alike."""
    heads = None if value.shape is None else value.shape[1]
    return heads if isinstance(heads, int) else None


def _attention(op: Op, q: ir.Value, k: ir.Value, v: ir.Value, **found: ir.Value) -> ir.Value:
    q, of_q = _unscaled(q)
    k, of_k = _unscaled(k)
    scale = of_q * of_k * (number(found.get("factor")) or 1.0) / (number(found.get("divisor")) or 1.0)
    return claimed(op, "Attention", 23, q, _turned(op, k), v, scale=scale)


def _unscaled(value: ir.Value) -> tuple[ir.Value, float]:
    """A value before it was multiplied with a number, and the number."""
    node = value.producer()
    if node is not None and node.op_type == "Mul" and not node.domain:
        for factor, other in (node.inputs, reversed(node.inputs)):
            scale = number(factor)
            if other is not None and scale and rank(other) == _AXES:
                return other, scale
    return value, 1.0


def _turned(op: Op, k: ir.Value) -> ir.Value:
    """Kᵀ to K."""
    perm = [*range(_AXES - 2), _AXES - 1, _AXES - 2]
    node = k.producer()
    if node is not None and node.op_type == "Transpose" and not node.domain:
        turned = node.attributes.get("perm")
        if turned is not None and list(turned.as_ints()) == perm and node.inputs[0] is not None:
            return node.inputs[0]
    return claimed(op, "Transpose", 13, k, perm=perm)
