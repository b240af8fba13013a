from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.operators.low_bits import unpack
from cake_onnx.graph.runtime import open_session

Compare = Callable[..., Any]
Draw = Callable[..., Any]
MICROSOFT = "com.microsoft"
ROWS = 5


def packed(bits: int, columns: int, block: int) -> tuple[Any, Any, Any]:
    """Random weights `(N, blocks, bytes)`, scales `(N, blocks)`, zero points in bytes."""
    rng = np.random.default_rng(bits)
    blocks = -(-columns // block)
    weights = rng.integers(0, 256, (ROWS, blocks, block * bits // 8)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.05, (ROWS, blocks)).astype(np.float32)
    return weights, scales, rng.integers(0, 256, (ROWS, -(-blocks * bits // 8))).astype(np.uint8)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("columns", "block"), [(64, 16), (72, 32)])
@pytest.mark.parametrize("level", [0, 4])
def test_blocks(bits: int, columns: int, block: int, level: int, compare: Compare, draw: Draw) -> None:
    weights, scales, zeros = packed(bits, columns, block)
    options = {"K": columns, "N": ROWS, "bits": bits, "block_size": block, "accuracy_level": level}
    x = draw(3, columns)
    compare("MatMulNBits", x, weights, scales, domain=MICROSOFT, **options)
    compare("MatMulNBits", x, weights, scales.reshape(-1), zeros.reshape(-1), domain=MICROSOFT, **options)
    if bits < 8:
        between = np.linspace(0.5, 2.5, scales.size, dtype=np.float32).reshape(scales.shape)
        compare("MatMulNBits", x, weights, scales, between, None, draw(ROWS), domain=MICROSOFT, **options)


def test_a_group_for_each_column(compare: Compare, draw: Draw) -> None:
    weights, scales, zeros = packed(4, 64, 16)
    groups = np.random.default_rng(0).permutation(np.arange(64) // 16).astype(np.int32)
    options = {"domain": MICROSOFT, "K": 64, "N": ROWS, "bits": 4, "block_size": 16}
    compare("MatMulNBits", draw(3, 64), weights, scales, None, groups, **options)
    with pytest.raises(UnsupportedTeacherError, match="group index"):
        compare("MatMulNBits", draw(3, 64), weights, scales, zeros, groups, **options)


def test_inputs_rounded_by_the_block_differ_from_plain_ones(compare: Compare, draw: Draw) -> None:
    weights, scales, _ = packed(4, 64, 16)
    options = {"domain": MICROSOFT, "K": 64, "N": ROWS, "bits": 4, "block_size": 16}
    plain = compare("MatMulNBits", draw(3, 64), weights, scales, **options)
    rounded = compare("MatMulNBits", draw(3, 64), weights, scales, accuracy_level=4, **options)
    assert np.abs(plain - rounded).max() > 1e-3


@pytest.mark.parametrize("kind", [0, 1])
def test_tables(kind: int, compare: Compare, draw: Draw) -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 256, 64 * ROWS // 2).astype(np.uint8)
    largest = rng.uniform(0.5, 1, 64 * ROWS // 16).astype(np.float32)
    compare(
        "MatMulBnb4",
        draw(3, 64),
        weights,
        largest,
        domain=MICROSOFT,
        K=64,
        N=ROWS,
        block_size=16,
        quant_type=kind,
    )


@pytest.mark.parametrize(("kind", "bits"), [("uint8", 4), ("uint8", 8), ("int4", 4)])
@pytest.mark.parametrize("with_zeros", [False, True])
def test_rows(kind: str, bits: int, with_zeros: bool) -> None:
    model = rows_model(kind, bits, with_zeros)
    index = np.array([[0, 5, 19], [7, -1, 3]], dtype=np.int64)
    wanted = open_session(model.SerializeToString()).run(None, {"index": index})[0]
    found = convert_graph(model)(torch.from_numpy(index)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def rows_model(kind: str, bits: int, with_zeros: bool) -> ModelProto:
    rng = np.random.default_rng(0)
    if kind == "int4":
        table = helper.make_tensor("table", TensorProto.INT4, [20, 32], rng.integers(-8, 8, 640))
        zeros = helper.make_tensor("zeros", TensorProto.INT4, [20, 2], rng.integers(-8, 8, 40))
    else:
        whole = rng.integers(0, 256, (20, 32 * bits // 8)).astype(np.uint8)
        table = numpy_helper.from_array(whole, "table")
        whole = rng.integers(0, 256, (20, 2 * bits // 8)).astype(np.uint8)
        zeros = numpy_helper.from_array(whole, "zeros")
    scales = numpy_helper.from_array(rng.uniform(0.1, 1, (20, 2)).astype(np.float32), "scales")
    options: dict[str, Any] = {"gather_axis": 0, "quantize_axis": 1, "block_size": 16, "bits": bits}
    if kind == "int4":
        del options["bits"]
    names = ["table", "index", "scales", *(["zeros"] if with_zeros else [])]
    graph = helper.make_graph(
        [helper.make_node("GatherBlockQuantized", names, ["y"], domain=MICROSOFT, **options)],
        "rows",
        [helper.make_tensor_value_info("index", TensorProto.INT64, [2, 3])],
        [helper.make_empty_tensor_value_info("y")],
        [table, scales, *([zeros] if with_zeros else [])],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def test_the_lowest_bits_come_first() -> None:
    byte = torch.tensor([0b11100100], dtype=torch.uint8)
    assert unpack(byte, 2).tolist() == [0, 1, 2, 3]
    assert unpack(byte, 4).tolist() == [4, 14]
    assert unpack(byte, 8).tolist() == [228]
