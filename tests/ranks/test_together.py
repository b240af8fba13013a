"""Two real ranks do what one does: the same exchanges, the same step, one student."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ranks.conftest import Torchrun

SCRIPT = Path(__file__).with_name("together.py")


@pytest.fixture(scope="module")
def told(
    torchrun: Torchrun, fixtures: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("together")
    teacher = fixtures / "moons_mlp.onnx"
    with torchrun(SCRIPT, folder, teacher, cwd=root) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    alone = [sys.executable, "-m", "tests.ranks.together", str(folder), str(teacher)]
    subprocess.run(alone, check=True, cwd=root)
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_ranks_tell_each_other(told: dict[str, dict[str, Any]]) -> None:
    first, second = (told[f"{rank}-of-2"]["exchanged"] for rank in (0, 1))
    assert [first["from_first"], second["from_first"]] == ["0!", "0!"]
    assert [first["to_first"], second["to_first"]] == [["0", "1"], []]
    assert [first["scatter"], second["scatter"]] == ["a", "bc"]
    assert first["any"] == second["any"] == [True, False]
    assert first["empty"] == second["empty"] == 0
    # weights 1 and 3, values 0 and 1, 0 and 10
    assert first["mean"] == second["mean"] == [[[0.75, 0.75], [0.75, 0.75]], 7.5]


def test_shares_add_up(told: dict[str, dict[str, Any]]) -> None:
    shares = [told[name]["exchanged"]["shares"] for name in ("0-of-2", "1-of-2")]
    assert [sum(both) for both in zip(*shares, strict=True)] == [1, 25, 256]


def test_a_step_of_two_ranks_is_the_step_of_one_on_both_shares(told: dict[str, dict[str, Any]]) -> None:
    first, second, alone = (told[name]["step"] for name in ("0-of-2", "1-of-2", "0-of-1"))
    assert first == second
    assert first == pytest.approx(alone, rel=1e-4)


def test_channels_are_weighed_on_the_samples_of_all_ranks(told: dict[str, dict[str, Any]]) -> None:
    first, second, alone = (told[name]["worth"] for name in ("0-of-2", "1-of-2", "0-of-1"))
    assert len(first) == len(alone)
    assert first == second
    assert first != pytest.approx(alone, rel=1e-3)


def test_all_ranks_narrow_one_student_alike(told: dict[str, dict[str, Any]]) -> None:
    first, second, alone = (told[name] for name in ("0-of-2", "1-of-2", "0-of-1"))
    assert first["weights"] == second["weights"]
    assert first["shapes"] == second["shapes"]
    assert first["passes"] == second["passes"] == alone["passes"]
    assert first["curve"] == second["curve"]
    assert first["curve"] != alone["curve"], "the second rank draws samples of its own"
    assert first["curve"][-1] == pytest.approx(alone["curve"][-1], abs=0.12)


def test_every_rank_goes_on_from_its_own_samples(told: dict[str, dict[str, Any]]) -> None:
    first, second = told["0-of-2"], told["1-of-2"]
    assert first["resumed"] == second["resumed"] == first["weights"]
    assert {"bank.x", "pool.x", "rank1.bank.x", "rank1.pool.x"} <= set(first["saved"])
    assert second["saved"] == [], "only the first rank keeps a state"


def test_no_thread_of_the_group_outlives_it(told: dict[str, dict[str, Any]]) -> None:
    # One that does may want Python as it ends, which aborts the process: once in some hundred runs.
    for name in ("0-of-2", "1-of-2"):
        assert not [thread for thread in told[name]["threads"] if "gloo" in thread]
