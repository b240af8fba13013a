from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cake_onnx.errors import UsageError
from cake_onnx.evaluation import load_evaluation
from cake_onnx.graph.specs import Bounds, InputSpec, Layout


def spec(shape: tuple[int, ...] = (3, 4, 5), layout: Layout = "NCHW") -> InputSpec:
    return InputSpec("x", shape, "float32", layout, Bounds((0.0,), (1.0,), "test", False))


X = np.random.default_rng(0).random((6, 3, 4, 5), dtype=np.float32)
Y = np.arange(6) % 4


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def test_inputs_and_labels_are_read_as_they_are(tmp_path: Path) -> None:
    data = load_evaluation(saved(tmp_path, x=X, y=Y, other=np.array(["not asked for"])), spec(), 4)
    assert data.name == "mine.npz"
    assert np.array_equal(data.x, X)
    assert data.y is not None
    assert np.array_equal(data.y, Y)
    assert [str(data.x.dtype), str(data.y.dtype)] == ["float32", "int64"]


def test_labels_may_be_absent(tmp_path: Path) -> None:
    assert load_evaluation(saved(tmp_path, x=X), spec(), 4).y is None


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int32", "bool"])
def test_numbers_of_any_type_become_float32(tmp_path: Path, dtype: str) -> None:
    x = (200 * X).astype(dtype)
    data = load_evaluation(saved(tmp_path, x=x), spec(), 4)
    assert data.x.dtype == np.float32
    assert np.array_equal(data.x, x.astype(np.float32))


@pytest.mark.parametrize("shape", [(6, 60), (6, 3, 4, 5), (6, 1, 3, 4, 5), (6, 3, 1, 4, 5, 1)])
def test_flattened_inputs_and_axes_of_one_are_understood(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert np.array_equal(load_evaluation(saved(tmp_path, x=X.reshape(shape)), spec(), 4).x, X)


def test_a_single_feature_may_come_without_its_axis(tmp_path: Path) -> None:
    data = load_evaluation(saved(tmp_path, x=np.arange(4.0)), spec((1,), "flat"), 2)
    assert data.x.tolist() == [[0], [1], [2], [3]]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no x": ({"images": X, "labels": Y}, r"array `x` in mine.npz; found images, labels"),
    "nothing at all": ({}, r"array `x` in mine.npz; found nothing"),
    "one axis too few": ({"x": X[0]}, r"shape \(N, 3, 4, 5\).*shape \(3, 4, 5\)"),
    "another size": ({"x": X[..., :4]}, r"\(N, 3, 4, 5\).*\(6, 3, 4, 4\)"),
    "channels last for a model with channels first": (
        {"x": X.transpose(0, 2, 3, 1)},
        r"\(N, 3, 4, 5\).*\(6, 4, 5, 3\)",
    ),
    "the same count in another shape": ({"x": X.reshape(6, 5, 12)}, r"shape \(6, 5, 12\)"),
    "a scalar": ({"x": np.float32(3)}, r"shape \(\)"),
    "no samples": ({"x": X[:0]}, r"shape \(0, 3, 4, 5\)"),
    "strings": ({"x": np.full((6, 3, 4, 5), "a")}, r"with numbers.*<U1"),
    "complex numbers": ({"x": X.astype(complex)}, r"with numbers.*complex128"),
    "dates": ({"x": X.astype("datetime64[s]")}, r"with numbers.*datetime64"),
    "python objects": ({"x": np.array([{}, [1]], dtype=object)}, r"[Oo]bject arrays cannot be loaded"),
    "NaN": ({"x": np.where(X > 0.5, np.nan, X)}, r"finite numbers in `x`.*NaN or infinity.*[Rr]emove"),
    "infinity": ({"x": np.full_like(X, np.inf)}, r"NaN or infinity"),
    "too large for float32": ({"x": X.astype(np.float64) * 1e300}, r"NaN or infinity"),
    "labels of another length": ({"x": X, "y": Y[:5]}, r"`y` with 6 class indices from 0 to 3.*\(5,\)"),
    "labels from one": ({"x": X, "y": Y + 1}, r"0 to 3 .*int64, 1 to 4"),
    "negative labels": ({"x": X, "y": Y - 1}, r"-1 to 2"),
    "labels as names": ({"x": X, "y": Y.astype(str)}, r"<U.*index of the winning score, not its name"),
    "labels as numbers with a point": ({"x": X, "y": Y.astype(float)}, r"float64.*index of the winning"),
    "one-hot labels": ({"x": X, "y": np.eye(4)[Y]}, r"shape \(6, 4\)"),
    "labels as objects": ({"x": X, "y": np.array([None] * 6)}, r"[Oo]bject arrays cannot be loaded"),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize(("arrays", "said"), BAD.values(), ids=BAD)
def test_bad_arrays_are_told(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load_evaluation(saved(tmp_path, **arrays), spec(), 4)
    assert "\n" not in str(caught.value)


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def damaged() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.random.default_rng(0).random((6, 3, 4, 5)))
    content = bytearray(buffer.getvalue())
    content[200:260] = bytes(60)
    return bytes(content)


def truncated() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=X)
    return buffer.getvalue()[:-100]


def single_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    "text": (b"x,y\n1,2\n", "not an archive of arrays"),
    "empty": (b"", "not an archive of arrays"),
    "a single array": (single_array(), "not an archive of arrays"),
    "a truncated archive": (truncated(), "not an archive of arrays"),
    "a damaged archive": (damaged(), "mine.npz: "),
    "an archive of text": (packed(x=b"hello"), "other files than arrays"),
    "an array without its content": (packed(x_npy=single_array()[:150]), "mine.npz: "),
    "an array with a broken head": (packed(x_npy=b"\x93NUMPY\x01\x00\x05\x00zzzzz"), "mine.npz: "),
}


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_bad_files_are_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"an .npz file for `--eval`.*{said}.*np.savez"):
        load_evaluation(path, spec(), 4)


def test_no_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*absent.npz.*[Cc]heck the path"):
        load_evaluation(tmp_path / "absent.npz", spec(), 4)
    with pytest.raises(UsageError, match="npz file for `--eval`"):
        load_evaluation(tmp_path, spec(), 4)


class Trap:
    """Leaves a trace if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trap-was-sprung"),))


def test_no_pickle_is_ever_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        load_evaluation(saved(tmp_path, x=np.array([Trap()], dtype=object)), spec(), 4)
    assert not Path("trap-was-sprung").exists()


def test_the_shipped_test_data_fits_the_shipped_teachers(fixtures: Path) -> None:
    data = load_evaluation(fixtures / "moons_test.npz", spec((2,), "flat"), 2)
    assert data.x.shape[1:] == (2,)
    assert data.y is not None
    assert set(data.y.tolist()) == {0, 1}
