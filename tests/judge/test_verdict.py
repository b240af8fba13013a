from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cake_onnx.errors import UsageError
from cake_onnx.evaluation import Evaluation
from cake_onnx.graph.runtime import open_session
from cake_onnx.graph.specs import Bounds, InputSpec, OutputSpec
from cake_onnx.judge import Side, Suite, asker, judge
from cake_onnx.judge.suites import FloatArray
from cake_onnx.progress import Progress

INPUT = InputSpec("x", (2,), "float32", "flat", Bounds((-1.0,), (1.0,), "test", False))


def side(weight: list[list[float]], softmax: bool = False) -> Side:
    """A real model: `x W`, in onnxruntime."""
    classes = len(weight[0])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z" if softmax else "y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(np.array(weight, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model.SerializeToString()
    output = OutputSpec("y", None, "probabilities" if softmax else "logits", classes, None)
    return Side(content, open_session(content), INPUT, output)


def points(seed: int, n: int = 400) -> FloatArray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2)).astype(np.float32)


TEACHER = side([[1.0, -1.0], [0.0, 0.0]])  # class 0 right of the vertical axis
TURNED = side([[1.0, -1.0], [1.0, -1.0]])  # class 0 right of the falling diagonal: agrees on 3 of 4
SUITES = [Suite("held-out samples", "held-out", points(0)), Suite("noise", "baseline", points(1))]


def test_a_model_agrees_with_itself() -> None:
    verdict = judge(TEACHER, TEACHER, SUITES)
    assert [made.agreement for made in verdict.comparisons] == [1, 1]
    assert verdict.accuracy is None
    assert verdict.gates == ()


def test_agreement_is_measured_on_every_suite() -> None:
    verdict = judge(TEACHER, TURNED, SUITES)
    assert [made.suite for made in verdict.comparisons] == SUITES
    for made in verdict.comparisons:
        x = made.suite.x
        assert made.agreement == np.mean((x[:, 0] > 0) == (x.sum(1) > 0))
        assert made.agreement == pytest.approx(0.75, abs=0.07)
    assert verdict.leading is verdict.comparisons[0]


def test_scores_of_either_kind_become_probabilities() -> None:
    x = points(2, 9)
    logits, soft = (asker(side([[2.0, -1.0, 0.5], [0.3, 0.0, 1.0]], softmax))(x) for softmax in (False, True))
    assert logits == pytest.approx(soft, abs=1e-6)
    assert logits.sum(1) == pytest.approx(np.ones(9), abs=1e-6)


def test_the_users_data_lead_and_give_accuracy() -> None:
    x = points(3, 200)
    labels = (x.sum(1) < 0).astype(np.int64)  # what the turned model says
    verdict = judge(TEACHER, TURNED, SUITES, Evaluation("mine.npz", x, labels))
    assert [made.suite.role for made in verdict.comparisons] == ["user", "held-out", "baseline"]
    assert verdict.accuracy is not None
    assert (verdict.accuracy.source, verdict.accuracy.n) == ("mine.npz", 200)
    assert verdict.accuracy.student == 1
    assert verdict.accuracy.teacher == verdict.accuracy.agreement == verdict.leading.agreement
    assert 0.6 < verdict.accuracy.teacher < 0.9


def test_data_without_labels_give_agreement_but_no_accuracy() -> None:
    verdict = judge(TEACHER, TURNED, SUITES, Evaluation("mine.npz", points(3), None))
    assert verdict.leading.suite.role == "user"
    assert verdict.accuracy is None


def test_the_gate_looks_at_the_leading_comparison() -> None:
    passed, failed = (judge(TEACHER, TURNED, SUITES, min_agreement=least).gates for least in (0.5, 0.97))
    assert [gate.passed for gate in (*passed, *failed)] == [True, False]
    assert failed[0].name == "agreement on held-out samples"
    assert failed[0].wanted == ">= 97.00%"
    assert failed[0].got.startswith("7")
    same_side = np.abs(points(4)) * [1, 0.1]  # right of both lines
    easy = Evaluation("easy.npz", same_side.astype(np.float32), None)
    (gate,) = judge(TEACHER, TURNED, SUITES, easy, min_agreement=0.97).gates
    assert gate.passed
    assert gate.name == "agreement on your data"


def test_the_held_out_samples_that_agree_least_lead() -> None:
    same_side = (np.abs(points(4)) * [1, 0.1]).astype(np.float32)  # both models alike
    easy, noise = Suite("easy samples", "held-out", same_side), Suite("noise", "baseline", points(5))
    for suites in ([easy, SUITES[0], noise], [SUITES[0], easy, noise]):
        verdict = judge(TEACHER, TURNED, suites, min_agreement=0.97)
        assert verdict.leading.suite is SUITES[0]
        assert verdict.gates[0].name == "agreement on held-out samples"
    assert judge(TEACHER, TURNED, [easy, noise]).leading.agreement == 1


def test_a_gate_is_passed_at_the_very_number() -> None:
    (gate,) = judge(TEACHER, TEACHER, SUITES, min_agreement=1.0).gates
    assert gate.passed


def test_latency_of_both_by_batch_size() -> None:
    verdict = judge(TEACHER, TURNED, SUITES)
    for rows in (verdict.teacher_latency, verdict.student_latency):
        assert [row.batch for row in rows] == [1, 8, 64]
        assert all(0 < row.p10_ms <= row.median_ms <= row.p90_ms for row in rows)


def test_progress_names_each_suite() -> None:
    seen: list[Progress] = []
    judge(TEACHER, TURNED, SUITES, report=seen.append)
    assert [(progress.done, progress.total) for progress in seen] == [(1, 3), (2, 3), (3, 3)]
    assert "held-out samples: 7" in seen[0].note
    assert "agreement 7" in seen[-1].note


def test_latency_is_timed_where_the_caller_says_or_not_at_all() -> None:
    suites = [Suite("s", "held-out", points(0, 20))]
    on_cpu = judge(TEACHER, TEACHER, suites)
    assert (on_cpu.latency_provider, on_cpu.latency_threads) == ("CPUExecutionProvider", 1)
    assert on_cpu.teacher_latency
    untimed = judge(TEACHER, TEACHER, suites, latency_provider=None)
    assert untimed.teacher_latency == untimed.student_latency == ()
    with pytest.raises(UsageError, match="execution provider NoSuchExecutionProvider"):
        judge(TEACHER, TEACHER, suites, latency_provider="NoSuchExecutionProvider")
