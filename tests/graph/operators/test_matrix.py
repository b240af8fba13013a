from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph

Compare = Callable[..., Any]
Draw = Callable[..., Any]
MICROSOFT = "com.microsoft"


def test_determinant(compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    for opset in (11, 22):
        compare("Det", draw(3, 4, 4), opset=opset)
    mapped("Det", draw(3, 4, 4))


def test_inverse(compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    compare("Inverse", draw(3, 4, 4), domain=MICROSOFT)
    mapped("Inverse", draw(3, 4, 4), domain=MICROSOFT)


def test_a_singular_matrix_in_a_batch_does_not_raise(parse: Callable[..., ModelProto]) -> None:
    model = parse("g (float[B, 2, 2] x) => (float[B, 2, 2] y) { y = com.microsoft.Inverse(x) }")
    model.opset_import.add(domain=MICROSOFT, version=1)
    found = convert_graph(model)(torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[2.0, 0.0], [0.0, 4.0]]]))
    assert not found[0].isfinite().any()
    assert found[1].tolist() == [[0.5, 0.0], [0.0, 0.25]]


@pytest.mark.parametrize("opset", [12, 28])
def test_einstein_sums(opset: int, compare: Compare, draw: Draw, mapped: Callable[..., None]) -> None:
    x = draw(2, 3, 4)
    compare("Einsum", x, draw(4, 5), opset=opset, equation="bij, jk -> bik")
    compare("Einsum", x, opset=opset, equation="...ij->...ji")
    compare("Einsum", x, draw(4), draw(3), opset=opset, equation="bij,j,i->b")
    compare("Einsum", draw(3, 3), opset=opset, equation="ii->i")
    compare("Einsum", draw(2, 3), draw(3, 4), opset=opset, equation="ij,jk")
    mapped("Einsum", x, draw(4, 5), opset=opset, equation="bij,jk->bik")


def test_einstein_sum_of_whole_numbers(parse: Callable[..., ModelProto]) -> None:
    """Integers carried as floats meet stored ones."""
    model = parse(
        """g (float[B, 3] x) => (float[B, 2] y) {
          i = Cast<to = 7>(x)
          s = Einsum<equation = "bi,ij->bj">(i, w)
          y = Cast<to = 1>(s)
        }""",
        w=np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int64),
    )
    assert convert_graph(model)(torch.tensor([[1.5, 0.0, -1.0]])).tolist() == [[-4.0, -4.0]]


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances(metric: str, compare: Compare, draw: Draw) -> None:
    compare("CDist", draw(3, 4), draw(5, 4), domain=MICROSOFT, metric=metric)
    # One point lies on another: the slope of the distance is infinite there.
    compare("CDist", draw(3, 4), draw(3, 4), domain=MICROSOFT, metric=metric)


def test_another_metric_is_declined(parse: Callable[..., ModelProto], draw: Draw) -> None:
    model = parse(
        'g (float[B, 4] x) => (float[B, 5] y) { y = com.microsoft.CDist<metric = "cosine">(x, w) }',
        w=draw(5, 4),
    )
    model.opset_import.add(domain=MICROSOFT, version=1)
    with pytest.raises(UnsupportedTeacherError, match="metric=cosine"):
        convert_graph(model)
