from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

from cake_onnx.bank import Samples
from cake_onnx.config import ROUNDS, Config, to_toml
from cake_onnx.errors import RunFailedError, UsageError
from cake_onnx.pipeline import compress
from cake_onnx.workspace import (
    RESULTS,
    FileCheckpoints,
    Workspace,
    inputs_of,
    require_writable,
    write_atomically,
    write_samples,
)

CONFIG = Config(rounds=3)


@pytest.fixture
def teacher(fixtures: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "teacher.onnx"
    copy.write_bytes((fixtures / "moons_mlp.onnx").read_bytes())
    return copy


@pytest.fixture
def inputs(teacher: Path) -> dict[str, Any]:
    return inputs_of(teacher, CONFIG)


def results(inputs: dict[str, Any], config: Config = CONFIG) -> dict[str, bytes]:
    report = {"teacher": {"sha256": inputs["teacher"]}, "cake_onnx": inputs["version"]}
    content = dict.fromkeys(RESULTS, b"new")
    return content | {"report.json": json.dumps(report).encode(), "config.toml": to_toml(config).encode()}


def finish(folder: Path, teacher: Path, inputs: dict[str, Any]) -> Workspace:
    workspace = Workspace(folder, teacher)
    assert workspace.claim(inputs, overwrite=False) == "new"
    workspace.finish(results(inputs))
    return workspace


def test_a_run_from_claim_to_finish(tmp_path: Path, teacher: Path, inputs: dict[str, Any]) -> None:
    workspace = Workspace(tmp_path / "a/b", teacher)
    assert workspace.claim(inputs, overwrite=False) == "new"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["work"]
    workspace.finish(results(inputs))
    workspace.abandon()
    assert {path.name for path in (tmp_path / "a/b").iterdir()} == set(RESULTS)
    assert workspace.claim(inputs, overwrite=False) == "done"


def test_the_float_form_goes_with_the_run_that_made_it(
    tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    workspace, extra = Workspace(tmp_path / "out", teacher), tmp_path / "out/model-float32.onnx"
    for files, there in ((results(inputs) | {extra.name: b"float"}, True), (results(inputs), False)):
        workspace.claim(inputs, overwrite=True)
        workspace.finish(files)
        assert extra.exists() is there
        assert not (tmp_path / "out/work").exists()
    extra.write_bytes(b"of the user")
    other = Workspace(tmp_path / "out", extra)
    with pytest.raises(UsageError, match="the teacher itself"):
        other.claim(inputs, overwrite=True)


def test_examine_writes_nothing(tmp_path: Path, teacher: Path, inputs: dict[str, Any]) -> None:
    assert Workspace(tmp_path / "out", teacher).examine(inputs, overwrite=False) == "new"
    assert not (tmp_path / "out").exists()


def test_abandon_leaves_no_trace_and_no_folder_it_made(
    tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    (tmp_path / "a").mkdir()
    workspace = Workspace(tmp_path / "a/b/c", teacher)
    workspace.claim(inputs, overwrite=False)
    workspace.abandon()
    assert not list((tmp_path / "a").iterdir())


def test_abandon_keeps_what_a_run_can_go_on_from(
    tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    workspace = Workspace(tmp_path / "out", teacher)
    workspace.claim(inputs, overwrite=False)
    FileCheckpoints(workspace.work).save({"a": torch.ones(2)}, {"curve": []})
    workspace.abandon()
    assert workspace.has_state
    assert Workspace(tmp_path / "out", teacher).claim(inputs, overwrite=False) == "resume"


def test_an_interrupted_overwrite_goes_on_although_an_older_result_is_there(
    tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    finish(tmp_path / "out", teacher, inputs)
    other = inputs | {"seed": 9}
    anew = Workspace(tmp_path / "out", teacher)
    assert anew.claim(other, overwrite=True) == "new"
    FileCheckpoints(anew.work).save({"a": torch.ones(2)}, {})
    anew.abandon()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*RESULTS, "work"}
    assert Workspace(tmp_path / "out", teacher).claim(other, overwrite=False) == "resume"
    assert Workspace(tmp_path / "out", teacher).claim(inputs, overwrite=False) == "done"


def test_overwrite_forgets_an_unfinished_run(tmp_path: Path, teacher: Path, inputs: dict[str, Any]) -> None:
    first = Workspace(tmp_path / "out", teacher)
    first.claim(inputs, overwrite=False)
    FileCheckpoints(first.work).save({"a": torch.ones(2)}, {})
    again = Workspace(tmp_path / "out", teacher)
    assert again.claim(inputs, overwrite=True) == "new"
    assert not again.has_state


def test_the_users_files_stay(tmp_path: Path, teacher: Path, inputs: dict[str, Any]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    finish(tmp_path / "out", teacher, inputs)
    workspace = Workspace(tmp_path / "out", teacher)
    workspace.claim(inputs, overwrite=True)
    workspace.finish(results(inputs))
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_a_work_folder_of_the_user_is_not_entered(
    tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    (tmp_path / "out/work").mkdir(parents=True)
    (tmp_path / "out/work/model.onnx").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="free for working files"):
            Workspace(tmp_path / "out", teacher).claim(inputs, overwrite)
    assert (tmp_path / "out/work/model.onnx").read_text() == "mine"


def test_the_teacher_is_never_replaced(tmp_path: Path, teacher: Path, inputs: dict[str, Any]) -> None:
    model = teacher.rename(tmp_path / "model.onnx")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(UsageError, match="the teacher itself"):
            Workspace(folder, model).claim(inputs, overwrite=True)


@pytest.mark.parametrize("left_out", RESULTS)
def test_a_result_that_is_not_whole_is_not_taken_for_one(
    left_out: str, tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    finish(tmp_path / "out", teacher, inputs)
    (tmp_path / "out" / left_out).unlink()
    with pytest.raises(UsageError, match="no whole result"):
        Workspace(tmp_path / "out", teacher).claim(inputs, overwrite=False)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"teacher": 3}', b"\xff"])
def test_a_report_of_someone_else_is_not_ours(
    content: bytes, tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    finish(tmp_path / "out", teacher, inputs)
    (tmp_path / "out/report.json").write_bytes(content)
    with pytest.raises(UsageError, match="no whole result"):
        Workspace(tmp_path / "out", teacher).claim(inputs, overwrite=False)


def test_a_damaged_lock_is_told(tmp_path: Path, teacher: Path, inputs: dict[str, Any]) -> None:
    workspace = Workspace(tmp_path / "out", teacher)
    workspace.claim(inputs, overwrite=False)
    (workspace.work / "inputs.json").write_text("{")
    with pytest.raises(UsageError, match="Start anew"):
        workspace.claim(inputs, overwrite=False)


def test_inputs_depend_on_the_teacher_and_on_what_changes_the_result(fixtures: Path) -> None:
    def of(**options: Any) -> dict[str, Any]:
        return inputs_of(fixtures / "moons_mlp.onnx", Config(**options))

    small = ROUNDS["rounds"]["small"]
    assert of() == of()
    assert of() != of(seed=1)
    assert of() != inputs_of(fixtures / "digits_cnn.onnx", Config())
    assert of(budget="small") == of(rounds=small), "a budget is a word for a number of rounds"
    assert of(budget="small") != of(rounds=small + 1)
    assert json.loads(json.dumps(of())) == of(mean=None), "inputs survive the way through a file"


def test_a_student_file_that_changed_makes_another_run(tmp_path: Path, fixtures: Path, teacher: Path) -> None:
    pupil = tmp_path / "pupil.onnx"
    pupil.write_bytes((fixtures / "moons_mlp.onnx").read_bytes())
    config = Config(rounds=2, student=str(pupil))
    document = compress(teacher, config).report.model_dump(mode="json")
    inputs = inputs_of(teacher, config)
    workspace = Workspace(tmp_path / "out", teacher)
    workspace.claim(inputs, overwrite=False)
    workspace.finish(results(inputs, config) | {"report.json": json.dumps(document).encode()})
    assert workspace.claim(inputs, overwrite=False) == "done"
    pupil.write_bytes((fixtures / "digits_cnn.onnx").read_bytes())
    with pytest.raises(UsageError, match="content of --student was"):
        Workspace(tmp_path / "out", teacher).claim(inputs_of(teacher, config), overwrite=False)


def test_a_finished_run_answers_to_the_time_limit_that_gave_its_rounds(
    tmp_path: Path, teacher: Path, inputs: dict[str, Any]
) -> None:
    finish(tmp_path / "out", teacher, inputs)
    limited = inputs_of(teacher, Config(max_minutes=1))
    assert Workspace(tmp_path / "out", teacher).claim(limited, overwrite=False) == "done"
    other = inputs_of(teacher, Config(max_minutes=1, seed=1))
    with pytest.raises(UsageError, match="found seed was 0 and is 1"):
        Workspace(tmp_path / "out", teacher).claim(other, overwrite=False)


def test_checkpoints_give_back_what_they_were_given(tmp_path: Path) -> None:
    checkpoints = FileCheckpoints(tmp_path / "work")
    assert checkpoints.load() is None
    tensors = {"x": torch.arange(6.0).view(2, 3).T, "half": torch.ones(2, dtype=torch.float16)}
    checkpoints.save(tensors, {"curve": [[1, 2.5]]})
    checkpoints.save(tensors, {"curve": [[1, 2.5], [2, 5.0]]})
    found = checkpoints.load()
    assert found is not None
    assert found[1] == {"curve": [[1, 2.5], [2, 5.0]]}
    assert set(found[0]) == set(tensors)
    assert all(torch.equal(found[0][name], tensors[name]) for name in tensors)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["state.safetensors"]


def test_checkpoints_are_due_after_their_time(tmp_path: Path) -> None:
    assert not FileCheckpoints(tmp_path, seconds=1000).due()
    assert FileCheckpoints(tmp_path, seconds=0).due()


@pytest.mark.parametrize("content", [b"", b"\x05\x00", b"not safetensors at all"])
def test_a_damaged_state_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match="a readable state"):
        FileCheckpoints(tmp_path).load()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/inside").write_text("kept")
    with pytest.raises(RunFailedError, match="to write"):
        write_atomically(tmp_path / "old", b"new")
    assert (tmp_path / "old/inside").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_require_writable_makes_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path / "a/b/c")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="found a file at"):
        require_writable(tmp_path / "file/b")


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_samples_are_written_with_their_labels(ending: str, tmp_path: Path) -> None:
    logits = torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    samples = Samples(torch.rand(2, 3), logits, torch.tensor([0, 1]), torch.zeros(2), 0)
    path = tmp_path / f"samples.{ending}"
    write_samples(path, [samples])
    held = load_file(path) if ending == "safetensors" else dict(np.load(path, allow_pickle=False))
    assert np.array_equal(held["x"], samples.x.numpy())
    assert held["label"].tolist() == [1, 0]
    assert held["wanted"].tolist() == [0, 1]


def batches(count: int, alive: weakref.WeakSet[Tensor]) -> Iterator[Samples]:
    for index in range(count):
        x = torch.full((3, 2), float(index))
        alive.add(x)
        assert len(alive) <= 3, "earlier batches are let go"
        yield Samples(x, torch.rand(3, 4), torch.arange(3), torch.zeros(3), index)


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_batches_of_samples_are_one_file_and_are_not_held(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"samples.{ending}"
    assert write_samples(path, batches(9, weakref.WeakSet())) == (27, 2)
    held = load_file(path) if ending == "safetensors" else dict(np.load(path, allow_pickle=False))
    assert held["x"][:, 0].tolist() == [index for index in range(9) for _ in range(3)]
    assert held["logits"].shape == (27, 4)
    assert np.array_equal(held["logits"].argmax(1), held["label"])
    assert held["wanted"].tolist() == [0, 1, 2] * 9
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("after", [0, 2])
def test_samples_that_end_early_leave_the_old_file(after: int, tmp_path: Path) -> None:
    def stopped() -> Iterator[Samples]:
        yield from batches(after, weakref.WeakSet())
        raise KeyboardInterrupt

    path = tmp_path / "samples.npz"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_samples(path, stopped())
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
