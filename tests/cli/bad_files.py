"""Files that are no teachers, no data and no options, made by name in the current folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def make_bad_files(folder: Path, teacher: Path) -> None:
    """Fill a folder with everything that the command must refuse.

    Args:
        folder: An empty one.
        teacher: A good teacher with two features, kept there as `good.onnx`.
    """
    (folder / "good.onnx").write_bytes(teacher.read_bytes())
    _make_no_models(folder, teacher.read_bytes())
    _make_odd_signatures(folder)
    _make_odd_graphs(folder)
    _make_data(folder)
    _make_options(folder)


def _make_no_models(folder: Path, good: bytes) -> None:
    (folder / "folder").mkdir()
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "truncated.onnx").write_bytes(good[: len(good) // 2])
    (folder / "random.onnx").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "text.onnx").write_text("name,score\nann,3\nbob,4\n")
    (folder / "pickle.onnx").write_bytes(b"\x80\x02}q\x00.")


def _make_odd_signatures(folder: Path) -> None:
    pair = [_value("a", (None, 3)), _value("b", (None, 3))]
    _save(
        folder, "two_inputs", pair, [helper.make_node("Add", ["a", "b"], ["h"]), _dense("h")], inputs_width=3
    )
    tokens = [
        helper.make_node("Gather", ["w_x", "tokens"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["y"]),
    ]
    _save(folder, "tokens", [_value("tokens", (None, 3), INT64)], tokens, out=(None, 4))
    words = helper.make_node(
        "LabelEncoder", ["words"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0]
    )
    _save(folder, "words", [_value("words", (None, 3), STRING)], [words])
    _save(folder, "regression", [_value("x", (None, 4))], [_dense("x")], classes=1)
    softmax = [_dense("x", "h"), helper.make_node("Softmax", ["h"], ["y"])]
    _save(folder, "one_class", [_value("x", (None, 4))], softmax, classes=1)
    flat = [helper.make_node("Flatten", ["x"], ["h"]), _dense("h")]
    _save(folder, "no_rank", [helper.make_tensor_value_info("x", FLOAT, None)], flat)
    _save(folder, "zero_size", [_value("x", (None, 0))], [_dense("x")], inputs_width=0)


def _make_odd_graphs(folder: Path) -> None:
    ours = helper.make_node("Frobnicate", ["x"], ["h"], domain="com.example", name="odd_one")
    _save(folder, "unknown_operator", [_value("x", (None, 4))], [ours, _dense("h")], domains=["com.example"])
    _save(folder, "forest", [_value("x", (None, 4))], [_stump()], classes=2)
    _save(folder, "nan_weights", [_value("x", (None, 4))], [_dense("x")], fill=float("nan"))
    model = onnx.load(folder / "regression.onnx")
    onnx.save(
        model, folder / "no_data.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (folder / "weights.bin").unlink()


def _make_data(folder: Path) -> None:
    x = np.zeros((6, 2), np.float32)
    np.savez(folder / "good.npz", x=x, y=np.zeros(6, np.int64))
    np.savez(folder / "no_x.npz", images=x)
    np.savez(folder / "narrow.npz", x=np.zeros((6, 3), np.float32))
    np.savez(folder / "nan.npz", x=x + np.nan)
    np.savez(folder / "words.npz", x=np.array([["a", "b"]]))
    np.savez(folder / "objects.npz", x=np.array([[{}, {}]], dtype=object))
    np.savez(folder / "class_9.npz", x=x, y=np.full(6, 9))
    np.savez(folder / "five_labels.npz", x=x, y=np.zeros(5, np.int64))
    np.save(folder / "single.npy", x)


def _make_options(folder: Path) -> None:
    for name, text in {
        "near.toml": "compresion = 4\n",
        "far.toml": "zzz = 4\n",
        "broken.toml": "compression 4\n",
        "type.toml": "compression = 'big'\n",
        "nested.toml": "[seed]\nvalue = 1\n",
        "fraction.toml": "rounds = 2.5\n",
        "half.toml": "mean = 0.5\n",
    }.items():
        (folder / name).write_text(text)
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")


def _save(
    folder: Path, name: str, inputs: Sequence[ValueInfoProto], nodes: Sequence[onnx.NodeProto], *,
    classes: int = 3, inputs_width: int = 4, fill: float = 0.5, out: tuple[int | None, ...] | None = None,
    domains: Sequence[str] = (),
) -> None:  # fmt: skip
    weight = _tensor("w_x", np.full((inputs_width, classes), fill, np.float32))
    output = _value("y", out or (None, classes))
    graph = helper.make_graph(list(nodes), name, list(inputs), [output], [weight])
    opsets = [helper.make_opsetid(domain, 1) for domain in domains]
    opsets += [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def _dense(source: str, target: str = "y") -> onnx.NodeProto:
    return helper.make_node("MatMul", [source, "w_x"], [target])


def _stump() -> onnx.NodeProto:
    """A tree of one decision, as gradient boosting and forests are made of."""
    return helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "y"], domain="ai.onnx.ml", post_transform="NONE",
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_values=[0.5, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0], class_nodeids=[1, 2], class_ids=[0, 1], class_weights=[1.0, 1.0],
        classlabels_int64s=[0, 1],
    )  # fmt: skip


def _value(name: str, shape: tuple[int | None, ...], kind: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch" if size is None else size for size in shape])


def _tensor(name: str, values: npt.NDArray[np.float32]) -> TensorProto:
    return numpy_helper.from_array(values, name)
