"""If, Loop, Scan and sequences: what is left of them, and that onnxruntime says the same before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cake_onnx.graph import unroll as module
from cake_onnx.graph.convert import convert_graph
from cake_onnx.graph.fold import fold_constants
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.unroll import unroll

Array = np.ndarray[Any, Any]
Parse = Callable[..., ModelProto]
CONTROL = ("If", "Loop", "Scan")


def _left(model: ModelProto) -> list[str]:
    kinds = [node.op_type for node in model.graph.node]
    return [kind for kind in kinds if kind in CONTROL or "Sequence" in kind]


def _say(model: ModelProto, x: Array) -> list[Array]:
    name = model.graph.input[0].name
    return [np.asarray(each) for each in open_session(model.SerializeToString()).run(None, {name: x})]


def _check(model: ModelProto, x: Array) -> ModelProto:
    """Nothing is left, the values stay, and the conversion has them with a finite gradient."""
    onnx.checker.check_model(model)
    before = model.SerializeToString()
    plain = unroll(model)
    assert model.SerializeToString() == before
    assert _left(plain) == []
    onnx.checker.check_model(plain)
    wanted = _say(model, x)
    for was, now in zip(wanted, _say(plain, x), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-5, atol=1e-6)
    point = torch.from_numpy(x).requires_grad_()
    found = convert_graph(fold_constants(plain))(point)
    np.testing.assert_allclose(found.detach().numpy(), wanted[0], rtol=1e-4, atol=1e-5)
    (slope,) = torch.autograd.grad(found.square().sum(), point)
    assert slope.isfinite().all()
    assert slope.abs().sum() > 0
    return plain


def _graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], name: str = "body", **stored: Any) -> Any:
    weights = [numpy_helper.from_array(np.asarray(value), key) for key, value in stored.items()]
    return helper.make_graph(nodes, name, inputs, outputs, weights)


def _f(values: list[Any]) -> Array:
    return np.array(values, np.float32)


def _float(name: str, *shape: int | str | None) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(
    nodes: list[Any], shape: list[Any], outputs: list[Any], stored: dict[str, Any], opset: int = 17
) -> ModelProto:
    graph = _graph(nodes, [_float("x", *shape)], outputs, "main", **stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


_BOOL = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
_STEP = helper.make_tensor_value_info("i", TensorProto.INT64, [])


def test_a_model_without_control_flow_comes_back_itself(parse: Parse) -> None:
    model = parse("g (float[B, 3] x) => (float[B, 3] y) { y = Relu(x) }")
    assert unroll(model) is model


@pytest.mark.parametrize("condition", [True, False])
def test_branch_of_a_known_condition(condition: bool) -> None:
    # Both branches use the same names, and one that the outer graph uses for something else later.
    branches = {
        f"{kind}_branch": _graph(
            [helper.make_node(op, ["h", "w"], ["t"]), helper.make_node("Tanh", ["t"], ["r"])],
            [],
            [_float("r", "B", 3)],
            w=_f([1, 2, 3]),
        )
        for kind, op in (("then", "Mul"), ("else", "Add"))
    }
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("If", ["c"], ["y"], name="choice", **branches),
        helper.make_node("Mul", ["y", "w"], ["z"]),
    ]
    model = _model(nodes, ["B", 3], [_float("z", "B", 3)], {"c": np.array(condition), "w": _f([5, 6, 7])})
    plain = _check(model, _f([[1, -2, 0.5]]))
    assert [node.op_type for node in plain.graph.node] == [
        "Relu",
        "Mul" if condition else "Add",
        "Tanh",
        "Mul",
    ]


def test_a_condition_on_the_data_stays(parse: Parse) -> None:
    branch = _graph([helper.make_node("Relu", ["x"], ["r"])], [], [_float("r", "B", 3)])
    other = _graph([helper.make_node("Neg", ["x"], ["r"])], [], [_float("r", "B", 3)])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Less", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other),
    ]
    model = _model(nodes, ["B", 3], [_float("y", "B", 3)], {"zero": np.float32(0)})
    assert unroll(model) is model


@pytest.mark.parametrize(("axis", "stays"), [(0, True), (1, False)])
def test_a_condition_on_a_size_is_known_unless_it_is_that_of_the_batch(axis: int, stays: bool) -> None:
    # What torch writes for `squeeze`.
    one = _graph([helper.make_node("Relu", ["x"], ["r"])], [], [_float("r", "B", 3)])
    many = _graph([helper.make_node("Tanh", ["x"], ["r"])], [], [_float("r", "B", 3)])
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "at"], ["n"]),
        helper.make_node("Equal", ["n", "one"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=one, else_branch=many),
    ]
    stored = {"at": np.array(axis), "one": np.array(1)}
    model = _model(nodes, ["B", 3], [_float("y", "B", 3)], stored)
    if stays:
        assert unroll(model) is model
    else:
        _check(model, _f([[1, -2, 0.5]]))


@pytest.mark.parametrize(
    ("shape", "test"),
    [(["B", 3], "Less"), (["B", 3], "Equal"), (["B", "C"], "sizes"), ([None, None], "sizes")],
)
def test_a_condition_on_sizes_that_can_go_either_way_stays(shape: list[Any], test: str) -> None:
    branch = _graph([helper.make_node("Relu", ["x"], ["r"])], [], [_float("r", *shape)])
    other = _graph([helper.make_node("Tanh", ["x"], ["r"])], [], [_float("r", *shape)])
    second = "m" if test == "sizes" else "some"
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["n"]),
        helper.make_node("Gather", ["s", "second"], ["m"]),
        helper.make_node("Equal" if test == "sizes" else test, ["n", second], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=other),
    ]
    some = np.array(5000 if test == "Less" else 2)
    stored = {"first": np.array(0), "second": np.array(1), "some": some}
    model = _model(nodes, shape, [_float("y", *shape)], stored)
    assert unroll(model) is model


def test_what_stays_inside_a_branch_reads_the_new_names() -> None:
    # The inner If depends on the data; it reads a tensor of the outer branch, one of the graph and its own.
    inner = {
        f"{kind}_branch": _graph(
            [
                helper.make_node("Add", ["t", "h"], ["u"]),
                helper.make_node(op, ["u"], ["r"]),
            ],
            [],
            [_float("r", "B", 3)],
        )
        for kind, op in (("then", "Relu"), ("else", "Tanh"))
    }
    outer = _graph(
        [
            helper.make_node("Neg", ["h"], ["t"]),
            helper.make_node("ReduceSum", ["h"], ["s"], keepdims=0),
            helper.make_node("Less", ["s", "zero"], ["c"]),
            helper.make_node("If", ["c"], ["q"], **inner),
        ],
        [],
        [_float("q", "B", 3)],
        zero=np.float32(0),
    )
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["h"]),
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("If", ["yes"], ["p"], then_branch=outer, else_branch=outer),
        helper.make_node("Mul", ["p", "e"], ["y"]),
    ]
    model = _model(nodes, ["B", 3], [_float("y", "B", 3)], {"yes": np.array(True)})
    plain = unroll(model)
    assert _left(plain) == ["If"]
    np.testing.assert_allclose(_say(plain, X)[0], _say(model, X)[0], rtol=1e-5)


def test_a_loop_that_stays_leaves_no_steps_behind() -> None:
    # The first step is known to be followed by another; whether the second is depends on the data.
    condition = [
        helper.make_node("ReduceSum", ["g"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["positive"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["i"], ["later"], to=TensorProto.BOOL),
        helper.make_node("Not", ["later"], ["early"]),
        helper.make_node("Or", ["early", "positive"], ["next"]),
    ]
    model = _loop("yes", "n", condition, {"n": np.array(4), "yes": np.array(True)})
    always = _graph([helper.make_node("Relu", ["x"], ["r"])], [], [_float("r", "B", 3)])
    choice = helper.make_node("If", ["yes"], ["z"], then_branch=always, else_branch=always)
    model.graph.node.append(choice)
    model.graph.output.append(_float("z", "B", 3))
    plain = unroll(model)
    assert [node.op_type for node in plain.graph.node] == ["Loop", "ReduceSum", "Add", "Relu", "Identity"]


def test_a_sequence_that_the_model_gives_out_stays() -> None:
    branch = _graph(
        [helper.make_node("SequenceConstruct", ["x"], ["r"])],
        [],
        [helper.make_tensor_sequence_value_info("r", TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    model = _model(nodes, ["B", 3], [output], {"yes": np.array(True)}, 13)
    assert unroll(model) is model


def _loop(
    start: str, limit: str, condition: list[Any], stored: dict[str, Any], opset: int = 17
) -> ModelProto:
    """`h <- tanh(h w + i)`, giving h and the rows `h * 2`; `condition` makes `next` out of `i`."""
    body = _graph(
        [
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["h", "w"], ["m"]),
            helper.make_node("Add", ["m", "f"], ["a"]),
            helper.make_node("Tanh", ["a"], ["g"]),
            helper.make_node("Mul", ["g", "two"], ["row"]),
            *condition,
        ],
        [_STEP, _BOOL, _float("h", "B", 3)],
        [
            helper.make_tensor_value_info("next", TensorProto.BOOL, []),
            _float("g", "B", 3),
            _float("row", "B", 3),
        ],
        two=np.float32(2),
    )
    nodes = [
        helper.make_node("Loop", [limit, start, "x"], ["last", "rows"], name="loop", body=body),
        helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0)
        if opset >= 13
        else helper.make_node("ReduceSum", ["rows"], ["sum"], keepdims=0, axes=[0]),
        helper.make_node("Add", ["sum", "last"], ["y"]),
    ]
    weights = {"w": np.eye(3, dtype=np.float32)[::-1] * 0.7, "axes": np.array([0]), **stored}
    return _model(nodes, ["B", 3], [_float("y", "B", 3)], weights, opset)


_GOES_ON = [helper.make_node("Identity", ["go"], ["next"])]
_UNTIL = [
    helper.make_node("Constant", [], ["last_step"], value_int=2),
    helper.make_node("Less", ["i", "last_step"], ["next"]),
]
X = _f([[0.5, -1.0, 2.0], [1.0, 0.1, -0.3]])


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_loop_of_a_known_number_of_steps(opset: int) -> None:
    plain = _check(_loop("yes", "n", _GOES_ON, {"n": np.array(4), "yes": np.array(True)}, opset), X)
    assert sum(node.op_type == "Tanh" for node in plain.graph.node) == 4


def test_loop_that_ends_by_a_condition_on_its_step() -> None:
    for limit in ("n", ""):
        model = _loop("yes", limit, _UNTIL, {"n": np.array(100), "yes": np.array(True)})
        plain = _check(model, X)
        assert sum(node.op_type == "Tanh" for node in plain.graph.node) == 3


def test_loop_without_a_condition_at_the_start() -> None:
    always = [helper.make_node("Constant", [], ["next"], value=numpy_helper.from_array(np.array(True)))]
    _check(_loop("", "n", always, {"n": np.array(3)}), X)


@pytest.mark.parametrize("fault", ["data", "steps", "nodes", "none"])
def test_a_loop_stays_where_its_length_is_unknown_or_too_large(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition, steps = _GOES_ON, 4
    if fault == "data":
        condition = [
            helper.make_node("ReduceSum", ["g"], ["s"], keepdims=0),
            helper.make_node("Less", ["s", "two"], ["next"]),
        ]
    elif fault == "steps":
        monkeypatch.setattr(module, "MAX_STEPS", 3)
    elif fault == "nodes":
        monkeypatch.setattr(module, "MAX_NODES", 10)
    else:
        steps = 0
    model = _loop("yes", "n", condition, {"n": np.array(steps), "yes": np.array(True)})
    assert unroll(model) is model


def test_weights_of_a_body_are_stored_once_and_repeated_nodes_made_once() -> None:
    body = _graph(
        [
            helper.make_node("Transpose", ["v"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["h", "t"], ["g"]),
            helper.make_node("Identity", ["go"], ["next"]),
        ],
        [_STEP, _BOOL, _float("h", "B", 3)],
        [helper.make_tensor_value_info("next", TensorProto.BOOL, []), _float("g", "B", 3)],
        v=np.eye(3, dtype=np.float32) * 0.5,
    )
    nodes = [helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)]
    model = _model(nodes, ["B", 3], [_float("y", "B", 3)], {"n": np.array(5), "yes": np.array(True)})
    plain = _check(model, X)
    kinds = [node.op_type for node in plain.graph.node]
    assert kinds.count("Transpose") == 1
    assert kinds.count("MatMul") == 5
    assert len(plain.graph.initializer) == 1


def _scan(attributes: dict[str, Any], opset: int = 17) -> ModelProto:
    body = _graph(
        [
            helper.make_node("Add", ["s", "e"], ["n"]),
            helper.make_node("Mul", ["n", "n"], ["o"]),
        ],
        [_float("s", 3), _float("e", 3)],
        [_float("n", 3), _float("o", 3)],
    )
    nodes = [helper.make_node("Scan", ["s0", "x"], ["s1", "y"], body=body, num_scan_inputs=1, **attributes)]
    return _model(nodes, [4, 3], [_float("y", None, None)], {"s0": np.zeros(3, np.float32)}, opset)


@pytest.mark.parametrize("opset", [9, 11, 16])
@pytest.mark.parametrize(
    "directions",
    [{}, {"scan_input_directions": [1]}, {"scan_output_directions": [1], "scan_input_directions": [1]}],
)
def test_scan(directions: dict[str, list[int]], opset: int, draw: Callable[..., Any]) -> None:
    _check(_scan(directions, opset), draw(4, 3))


def test_scan_along_other_axes(draw: Callable[..., Any]) -> None:
    model = _scan({"scan_input_axes": [1], "scan_output_axes": [-1]})
    model.graph.input[0].CopyFrom(_float("x", 3, 4))
    _check(model, draw(3, 4))


def test_scan_over_the_batch_stays() -> None:
    model = _scan({})
    model.graph.input[0].CopyFrom(_float("x", "B", 3))
    assert unroll(model) is model


def test_scan_8_scans_each_sample(draw: Callable[..., Any]) -> None:
    body = _graph(
        [helper.make_node("Add", ["s", "e"], ["n"]), helper.make_node("Identity", ["n"], ["o"])],
        [_float("s", 3), _float("e", 3)],
        [_float("n", 3), _float("o", 3)],
    )
    for backward in (0, 1):
        nodes = [
            helper.make_node(
                *("Scan", ["", "s0", "x"], ["s1", "y"]),
                body=body,
                num_scan_inputs=1,
                directions=[backward],
            )
        ]
        model = _model(nodes, [2, 4, 3], [_float("y", 2, 4, 3)], {"s0": np.ones((2, 3), np.float32)}, 8)
        _check(model, draw(2, 4, 3))


def test_loop_whose_length_is_a_size_made_by_another_loop() -> None:
    body = _graph(
        [helper.make_node("Add", ["h", "h"], ["g"]), helper.make_node("Identity", ["go"], ["next"])],
        [_STEP, _BOOL, _float("h", "B", 3)],
        [helper.make_tensor_value_info("next", TensorProto.BOOL, []), _float("g", "B", 3)],
    )
    first = _loop("yes", "n", _GOES_ON, {"n": np.array(3), "yes": np.array(True)})
    nodes = [
        first.graph.node[0],
        helper.make_node("Shape", ["rows"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["m"]),
        helper.make_node("Loop", ["m", "yes", "last"], ["y"], name="second", body=body),
    ]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in first.graph.initializer}
    model = _model(nodes, ["B", 3], [_float("y", "B", 3)], {"zero": np.array(0), **stored})
    plain = _check(model, X)
    assert sum(node.op_type == "Add" for node in plain.graph.node) == 6


def test_sequence_operators() -> None:
    nodes = [
        helper.make_node("SequenceEmpty", [], ["q0"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Tanh", ["x"], ["b"]),
        helper.make_node("SequenceInsert", ["q0", "a"], ["q1"]),
        helper.make_node("SequenceInsert", ["q1", "b", "first"], ["q2"]),
        helper.make_node("SequenceConstruct", ["a", "x"], ["q3"]),
        helper.make_node("SequenceErase", ["q3", "first"], ["q4"]),
        helper.make_node("SequenceAt", ["q4", "first"], ["c"]),
        helper.make_node("SequenceInsert", ["q2", "c", "last"], ["q5"]),
        helper.make_node("SequenceLength", ["q5"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ConcatFromSequence", ["q5"], ["j"], axis=1),
        helper.make_node("Mul", ["j", "f"], ["y"]),
    ]
    model = _model(nodes, ["B", 3], [_float("y", "B", 9)], {"first": np.array(0), "last": np.array(-1)})
    _check(model, X)


@pytest.mark.parametrize(
    ("split", "keepdims", "new_axis"),
    [(None, 1, 0), (None, 0, 1), (np.array(2), 1, 0), (np.array([1, 2]), 1, 0)],
)
def test_split_to_sequence(split: Array | None, keepdims: int, new_axis: int) -> None:
    given = {} if split is None else {"parts": split}
    places = {"first": np.array(0), "last": np.array(-1)}
    nodes = [
        helper.make_node("SplitToSequence", ["x", *given], ["q"], axis=1, keepdims=keepdims),
        helper.make_node("SequenceAt", ["q", "last"], ["e"]),
        helper.make_node("SequenceInsert", ["q", "e", "first"], ["r"]),
        helper.make_node("ConcatFromSequence", ["r"], ["y"], axis=1, new_axis=new_axis),
    ]
    model = _model(nodes, ["B", 3], [_float("y", "B", None)], {**places, **given})
    _check(model, X)


class _Steps(nn.Module):
    """A recurrence written as a loop: a list of states, a branch on the step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        states: list[Tensor] = []
        h = torch.zeros_like(x[:, 0])
        for step in range(x.size(1)):
            h = torch.tanh(self.inner(h) + x[:, step])
            if step % 2 == 0:
                states.append(h)
        scores: Tensor = self.head(torch.stack(states, 1).mean(1))
        return scores


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_what_torch_writes_for_a_scripted_loop(draw: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "loop.onnx"
    torch.onnx.export(
        torch.jit.script(_Steps().eval()),
        (torch.zeros(2, 5, 3),),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}},
    )
    model = onnx.load(path)
    assert "Loop" in _left(model)
    _check(fold_constants(model), draw(3, 5, 3))
