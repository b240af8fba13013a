from __future__ import annotations

import gzip
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from cake_onnx.errors import CakeError, UnsupportedTeacherError, UsageError
from cake_onnx.graph.load import load_model


def test_a_good_file_comes_back_whole(linear: ModelProto, tmp_path: Path) -> None:
    data = linear.SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    loaded = load_model(path)
    assert loaded.model == linear
    assert loaded.data == data == loaded.runnable
    assert loaded.sha256 == hashlib.sha256(data).hexdigest()
    assert loaded.bytes == len(data)


def _nothing(folder: Path, good: bytes) -> Path:
    return folder / "absent.onnx"


def _folder(folder: Path, good: bytes) -> Path:
    return folder


def _pipe(folder: Path, good: bytes) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _file(content: Callable[[bytes], bytes]) -> Callable[[Path, bytes], Path]:
    def write(folder: Path, good: bytes) -> Path:
        path = folder / "bad.onnx"
        path.write_bytes(content(good))
        return path

    return write


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
BAD = {
    "no file": (_nothing, UsageError, "no file"),
    "a folder": (_folder, UsageError, "folder"),
    "a pipe": (_pipe, UsageError, "pipe"),
    "empty": (_file(lambda good: b""), UnsupportedTeacherError, "empty file"),
    "truncated": (_file(lambda good: good[: len(good) // 2]), UnsupportedTeacherError, "cut short"),
    "random": (_file(lambda good: bytes(range(255, 0, -1)) * 9), UnsupportedTeacherError, "damaged"),
    "text": (_file(lambda good: "# Übersicht\n".encode() * 400), UnsupportedTeacherError, "text file"),
    "git-lfs": (_file(lambda good: LFS), UnsupportedTeacherError, "git lfs pull"),
    "zip": (_file(lambda good: b"PK\x03\x04" + good), UnsupportedTeacherError, "PyTorch"),
    "gzip": (_file(gzip.compress), UnsupportedTeacherError, "gzip"),
    "pickle": (_file(lambda good: pickle.dumps([1], protocol=2)), UnsupportedTeacherError, "pickle"),
    "no graph": (_file(lambda good: b"\x08\x08"), UnsupportedTeacherError, "at least one operator"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named(name: str, linear: ModelProto, tmp_path: Path) -> None:
    make, error, words = BAD[name]
    path = make(tmp_path, linear.SerializeToString())
    with pytest.raises(error, match=words) as caught:
        load_model(path)
    assert str(caught.value).count("\n") == 0


def _save_outside(model: ModelProto, folder: Path) -> Path:
    path = folder / "m.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    return path


def test_external_data_is_attached(linear: ModelProto, tmp_path: Path) -> None:
    inside = onnx.numpy_helper.to_array(linear.graph.initializer[0])
    path = _save_outside(linear, tmp_path)
    loaded = load_model(path)
    stored = onnx.numpy_helper.to_array(loaded.model.graph.initializer[0])
    assert (stored == inside).all()
    assert loaded.bytes == path.stat().st_size + (tmp_path / "m.data").stat().st_size
    assert onnx.load_from_string(loaded.runnable).graph.initializer[0].raw_data == stored.tobytes()


def _rewrite(path: Path, key: str, value: str) -> None:
    model = onnx.load(path, load_external_data=False)
    entries = model.graph.initializer[0].external_data
    kept = [(entry.key, entry.value) for entry in entries if entry.key != key]
    del entries[:]
    for name, text in [*kept, (key, value)]:
        entries.add(key=name, value=text)
    path.write_bytes(model.SerializeToString())


def test_missing_external_data_is_named(linear: ModelProto, tmp_path: Path) -> None:
    path = _save_outside(linear, tmp_path)
    (tmp_path / "m.data").unlink()
    with pytest.raises(UnsupportedTeacherError, match=r"m\.data"):
        load_model(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link", ""])
def test_external_data_stays_in_the_folder(location: str, linear: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    inner = tmp_path / "inner"
    inner.mkdir()
    path = _save_outside(linear, inner)
    (inner / "link").symlink_to(tmp_path / "secret")
    _rewrite(path, "location", location)
    with pytest.raises(UnsupportedTeacherError, match="inside the model's folder"):
        load_model(path)


@pytest.mark.parametrize(("key", "value"), [("length", "99999999999"), ("offset", "40"), ("offset", "ten")])
def test_external_data_sizes_are_checked_before_reading(
    key: str, value: str, linear: ModelProto, tmp_path: Path
) -> None:
    path = _save_outside(linear, tmp_path)
    _rewrite(path, key, value)
    with pytest.raises(UnsupportedTeacherError, match="external data for tensor 'w'"):
        load_model(path)


@pytest.mark.parametrize("dims", [[40_000_000, 3], [4, 2], [-4, -3]])
def test_a_tensor_that_lies_about_its_size_is_refused(
    dims: list[int], linear: ModelProto, tmp_path: Path
) -> None:
    linear.graph.initializer[0].dims[:] = dims
    path = tmp_path / "m.onnx"
    path.write_bytes(linear.SerializeToString())
    with pytest.raises(CakeError, match=r"'w'|w with shape"):
        load_model(path)
