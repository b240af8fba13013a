"""The output folder: who may use it, what it holds, and how it is left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from cake_onnx.config import Config, parse_config, read_toml
from cake_onnx.errors import UsageError
from cake_onnx.graph.load import load_model
from cake_onnx.workspace.checkpoints import STATE
from cake_onnx.workspace.writing import require_writable, write_atomically

#: Written last, in this order, so that `model.onnx` is never there without the report about it.
RESULTS = ("report.json", "report.html", "MODEL_CARD.md", "config.toml", "model.onnx")
#: Of some runs only.
EXTRAS = ("model-float32.onnx",)
_WRITTEN = (*EXTRAS, *RESULTS)
State = Literal["new", "resume", "done"]
_INPUTS = "inputs.json"


class Workspace:
    """One output folder.

    Args:
        folder: Made when the first file is written.
        model: The teacher's file, which no result may replace.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.model = model
        self._made: list[Path] = []

    def examine(self, inputs: Mapping[str, Any], overwrite: bool) -> State:
        """Tell what a run with these inputs would find here, and write nothing.

        Args:
            inputs: All that the result depends on: options, teacher hash, version.
            overwrite: Start anew whatever is there.

        Raises:
            UsageError: The folder holds something else, or is no folder.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(
                "a folder for the output", f"a file at {self.folder}", "choose another with `-o`"
            )
        self._spare_the_teacher()
        self._spare_the_users_work()
        require_writable(self.work)
        if overwrite:
            return "new"
        unfinished, finished = self._unfinished_inputs(), self._finished_inputs()
        if unfinished is not None and not _differences(unfinished, inputs):
            return "resume"
        if finished is not None and not _differences(finished, inputs):
            return "done"
        for known, kind in ((unfinished, "unfinished"), (finished, "finished")):
            if known is not None:
                raise _other_options(_differences(known, inputs), f"the {kind} run in {self.folder}")
        self._spare_strangers()
        return "new"

    def claim(self, inputs: Mapping[str, Any], overwrite: bool) -> State:
        """Take the folder for a run with these inputs; results of another run stay until `finish`.

        Args:
            inputs: All that the result depends on: options, teacher hash, version.
            overwrite: Start anew whatever is there.

        Returns:
            `new`; `resume` if an unfinished run with the same inputs is there; `done` if a finished one is.

        Raises:
            UsageError: The folder holds something else, is no folder or cannot be written.
        """
        state = self.examine(inputs, overwrite)
        if state == "new":
            self._make_folders()
            self._sweep()
            write_atomically(self.work / _INPUTS, json.dumps(dict(inputs), indent=1).encode())
        return state

    @property
    def has_state(self) -> bool:
        """Whether an interrupted run left something to go on from."""
        return (self.work / STATE).exists()

    def finish(self, files: Mapping[str, bytes]) -> None:
        """Write all results and remove the working files.

        Args:
            files: Name to content, every name of `RESULTS` among them.
        """
        names = [name for name in _WRITTEN if name in files]
        for name in names:
            write_atomically(self.work / name, files[name])
        for name in names:
            (self.work / name).replace(self.folder / name)
        for name in EXTRAS:
            if name not in files:  # of the run that this one replaces
                (self.folder / name).unlink(missing_ok=True)
        self._sweep()
        _remove_if_empty(self.work)

    def abandon(self) -> None:
        """Remove what `claim` made, if no state was saved: nothing half-written stays behind."""
        if not self.has_state:
            self._sweep()
            for folder in (self.work, *reversed(self._made)):
                _remove_if_empty(folder)

    def _make_folders(self) -> None:
        try:
            for folder in reversed((self.work, *self.work.parents)):
                if not folder.exists():
                    folder.mkdir()
                    self._made.append(folder)
        except OSError as error:
            self.abandon()
            raise UsageError(
                "a place that can be written for `-o`", f"{folder}: {error.strerror}", "choose another"
            ) from error

    def _sweep(self) -> None:
        """Remove working files, by name: the folder may hold things of the user."""
        for name in (STATE, *_WRITTEN, _INPUTS):  # the last says that the others are ours
            for left in (self.work / name, *self.work.glob(f".{name}.*")):
                left.unlink(missing_ok=True)

    def _spare_the_teacher(self) -> None:
        for name in _WRITTEN:
            if (self.folder / name).resolve() == self.model.resolve():
                raise UsageError(
                    "an output folder where nothing replaces the teacher",
                    f"the teacher itself at {self.folder / name}",
                    "choose another folder with `-o`",
                )

    def _spare_the_users_work(self) -> None:
        work = self.work
        taken = any(work.iterdir()) and not (work / _INPUTS).is_file() if work.is_dir() else work.exists()
        if taken:
            raise UsageError(
                f"{work} to be free for working files",
                "something there that this program did not make",
                "choose another folder with `-o`",
            )

    def _spare_strangers(self) -> None:
        found = [name for name in _WRITTEN if (self.folder / name).exists()]
        if found:
            raise UsageError(
                "an output folder that is new, or holds a finished run",
                f"{found[0]} in {self.folder}, which is no whole result of this version",
                "choose another folder with `-o`, or replace it with `--overwrite`",
            )

    def _unfinished_inputs(self) -> dict[str, Any] | None:
        path = self.work / _INPUTS
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UsageError(f"a readable {path}", str(error), "start anew with `--overwrite`") from error
        return found if isinstance(found, dict) else {}

    def _finished_inputs(self) -> dict[str, Any] | None:
        """Of a whole result; None where files are missing or someone else's."""
        if not all((self.folder / name).is_file() for name in RESULTS):
            return None
        try:
            report = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
            config = parse_config(read_toml(self.folder / "config.toml"))
            run = report.get("run", {})
            return _inputs(
                str(report["teacher"]["sha256"]), run.get("student_file_sha256"), str(report["cake_onnx"]),
                config, int(run.get("ranks", 1)),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, UsageError):
            return None


def inputs_of(model: Path, config: Config, ranks: int = 1) -> dict[str, Any]:
    """All that a result depends on: the files' bytes, the version, the options and the number of ranks.

    Raises:
        UsageError: There is no such file.
        UnsupportedTeacherError: The teacher, or the file of the student, is not an ONNX model.
    """
    student = None if config.student_file is None else load_model(config.student_file).sha256
    return _inputs(load_model(model).sha256, student, version("cake-onnx"), config, ranks)


def _inputs(teacher: str, student: str | None, made_by: str, config: Config, ranks: int) -> dict[str, Any]:
    options = config.model_dump(mode="json")
    # A budget is only a word for a number of rounds, and config.toml of a finished run holds the number.
    options.pop("budget")
    options["rounds"] = None if config.max_minutes else config.planned_rounds
    return {
        "teacher": teacher, "content of --student": student, "version": made_by, **options, "ranks": ranks
    }  # fmt: skip


def _differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs, one phrase each, between a run on disk and the one asked for."""
    ignored: set[str] = set()
    if wanted.get("max_minutes") and known.get("max_minutes") is None:
        # A finished run holds the number of rounds that the time limit came to.
        ignored = {"rounds", "max_minutes"}
    return [
        f"{key} was {known.get(key)} and is {wanted.get(key)}"
        for key in {**known, **wanted}
        if key not in ignored and known.get(key) != wanted.get(key)
    ]


def _other_options(different: list[str], run: str) -> UsageError:
    return UsageError(
        f"the same options as in {run}",
        ", ".join(different),
        "repeat them, choose another folder with `-o`, or start anew with `--overwrite`",
    )


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
