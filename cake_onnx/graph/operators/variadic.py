"""Sum, Mean, Max and Min of any number of tensors, with broadcasting, out of place."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from cake_onnx.graph.operators.registry import Apply, Bound, Node, operator


@operator("Sum", since=(1, 6, 8, 13))
@operator("Mean", since=(1, 6, 8, 13))
@operator("Max", since=(1, 6, 8, 12, 13))
@operator("Min", since=(1, 6, 8, 12, 13))
def variadic(node: Node) -> Bound:
    """ONNX Sum-13, Mean-13, Max-13, Min-13. Before version 8 the same without broadcasting."""
    node.ignore("consumed_inputs")
    pairwise: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Max": torch.maximum, "Min": torch.minimum}
    share = len(node.inputs) if node.op_type == "Mean" else 1
    function = pairwise.get(node.op_type, torch.add)
    return node.bind(Apply(_fold, function=function, share=share), *range(len(node.inputs)))


def _fold(*tensors: Tensor, function: Callable[[Tensor, Tensor], Tensor], share: int) -> Tensor:
    total = reduce(function, tensors)
    return total / share if share != 1 else total
