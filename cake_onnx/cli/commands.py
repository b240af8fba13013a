"""The four commands. Each imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cake_onnx.cli.help import ExampleCommand
from cake_onnx.cli.options import collect, config_options
from cake_onnx.cli.show import Display, note, print_facts, print_line, print_table
from cake_onnx.errors import UnsupportedTeacherError, UsageError

if TYPE_CHECKING:
    from cake_onnx.config import Config
    from cake_onnx.ranks import Ranks
    from cake_onnx.report.model import Report
    from cake_onnx.workspace import Workspace

_PATH = click.Path(path_type=Path)
_INPUT = ("input_range", "mean", "std")
_FOUND = {
    "new": "would be written",
    "resume": "holds an interrupted run of this, which would go on",
    "done": "already holds the result of this very run",
}


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every command has."""
    for option in (
        click.option(
            "-v", "--verbose", is_flag=True, help="Tell the details, and the traceback of an error."
        ),
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, and nothing else there."),
    ):
        command = option(command)

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        given.pop("verbose")  # read in `main`, before any command
        return command(**given)

    return run


def _alone(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that several ranks cannot share."""

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        from cake_onnx.ranks import ranks

        if ranks().count > 1:
            found = f"{ranks().count} ranks"
            raise UsageError(f"one process for `{command.__name__}`", found, "start it without torchrun")
        return command(**given)

    return run


@click.command(
    cls=ExampleCommand, example="cake-onnx compress model.onnx --mean 0.1307 --std 0.3081 --eval test.npz"
)
@click.argument("model", type=_PATH)
@click.option("-o", "--output", type=_PATH, help="Output folder. [default: MODEL without .onnx, with -cake]")
@config_options()
@click.option(
    "--config", "config_file", type=_PATH, metavar="FILE.toml", help="Options from a file; flags win over it."
)
@click.option("--overwrite", is_flag=True, help="Start anew in an output folder that is in use.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, tell the plan, write nothing.")
@_common
def compress(
    model: Path, output: Path | None, config_file: Path | None, overwrite: bool, dry_run: bool,
    as_json: bool, quiet: bool, **given: Any,
) -> int:  # fmt: skip
    """Make a smaller classifier that behaves like MODEL, an ONNX file.

    Writes model.onnx, report.json, report.html, MODEL_CARD.md and config.toml into the output folder. An
    interrupted run goes on when the same command is given again. Exit codes: 0 done, 1 done but the
    agreement is below --min-agreement, 2 usage, 3 MODEL not supported, 4 failed, 130 interrupted.
    """
    config = collect(given, config_file)
    from cake_onnx.devices import keep_freed_memory
    from cake_onnx.ranks import ranks
    from cake_onnx.workspace import Workspace, inputs_of

    keep_freed_memory()
    together = ranks()
    if not together.first:
        return 0 if dry_run else _assist(model, config, together)
    workspace = Workspace(output or Path(f"{model.stem}-cake"), model)
    inputs = inputs_of(model, config, together.count)
    if dry_run:
        from cake_onnx.inspection import preview

        found = workspace.examine(inputs, overwrite)
        return _answer(preview(model, config) | {"writes": f"{workspace.folder}: {_FOUND[found]}"}, as_json)
    state = workspace.claim(inputs, overwrite)
    together.from_first(state.encode())
    done = state == "done"
    code = _show_finished(workspace, as_json, quiet) if done else _run(workspace, config, as_json, quiet)
    return int(together.from_first(str(code).encode()))


def _assist(model: Path, config: Config, together: Ranks) -> int:
    """The command as any rank but the first: no files, no words."""
    from cake_onnx.pipeline import assist

    if together.from_first(b"") != b"done":
        with Display(quiet=True) as display:
            assist(model, config, display)
    return int(together.from_first(b""))


def _run(workspace: Workspace, config: Config, as_json: bool, quiet: bool) -> int:
    from cake_onnx.pipeline import compress as run
    from cake_onnx.workspace import FileCheckpoints

    try:
        with Display(quiet) as display:
            result = run(workspace.model, config, display, FileCheckpoints(workspace.work))
        workspace.finish(result.files())
    except KeyboardInterrupt:
        note(_how_to_resume(workspace))
        raise
    finally:
        workspace.abandon()
    _tell_result(result.report, workspace.folder, as_json, quiet)
    return 0 if result.passed else 1


@click.command(cls=ExampleCommand, example="cake-onnx inspect model.onnx")
@click.argument("model", type=_PATH)
@config_options(*_INPUT)
@click.option("--trace", is_flag=True, help="Name the first operator whose conversion differs, if one does.")
@_common
@_alone
def inspect(model: Path, trace: bool, as_json: bool, quiet: bool, **given: Any) -> int:
    """Tell what MODEL is, whether it would convert, and what would be assumed. Runs nothing long."""
    from cake_onnx.inspection import describe, find_difference

    config = collect(given, None)
    if not trace:
        return _answer(describe(model, config), as_json)
    facts, agrees = find_difference(model, config)
    _answer(facts, as_json)
    return 0 if agrees else UnsupportedTeacherError.exit_code


@click.command(cls=ExampleCommand, example="cake-onnx synthesize model.onnx -n 500 -o samples.npz")
@click.argument("model", type=_PATH)
@click.option(
    "-o", "--output", type=_PATH, help="File to write, .npz or .safetensors. [default: MODEL-samples.npz]"
)
@click.option(
    "-n", "--samples", type=click.IntRange(1, 10_000_000), default=1000, show_default=True, help="How many."
)
@config_options(*_INPUT, "prior", "device", "seed")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@_common
@_alone
def synthesize(
    model: Path, output: Path | None, samples: int, overwrite: bool, as_json: bool, quiet: bool, **given: Any
) -> int:
    """Write only samples from the decision boundary of MODEL, for calibration or fine-tuning elsewhere.

    The file holds x (samples in the model's units), logits, label (the winning class) and wanted (the class
    each sample was pushed to).
    """
    from cake_onnx.workspace import require_writable, write_samples

    path = output or Path(f"{model.stem}-samples.npz")
    if path.suffix not in (".npz", ".safetensors"):
        raise UsageError("a file ending in .npz or .safetensors for `-o`", f"`{path.name}`", "rename it")
    if path.is_dir() or (path.exists() and not overwrite):
        found, remedy = ("a folder at", "") if path.is_dir() else ("a file at", " or add `--overwrite`")
        raise UsageError("a new file for `-o`", f"{found} {path}", f"choose another{remedy}")
    require_writable(path.parent)
    from cake_onnx.devices import keep_freed_memory
    from cake_onnx.synthesis import synthesize_batches

    keep_freed_memory()
    with Display(quiet) as display:
        batches = synthesize_batches(model, samples, collect(given, None), display)
        count, *shape = write_samples(path, batches)
    return _answer({"file": str(path), "samples": count, "shape": shape}, as_json)


@click.command(cls=ExampleCommand, example="cake-onnx validate teacher.onnx student.onnx --eval test.npz")
@click.argument("teacher", type=_PATH)
@click.argument("student", type=_PATH)
@config_options(*_INPUT, "prior", "eval", "min_agreement", "device", "seed")
@_common
@_alone
def validate(teacher: Path, student: Path, as_json: bool, quiet: bool, **given: Any) -> int:
    """Compare any two classifiers of one input shape and number of classes, with or without data."""
    from cake_onnx.validation import validate as run

    with Display(quiet) as display:
        report = run(teacher, student, collect(given, None), display)
    _tell_result(report, None, as_json, quiet)
    return 0 if report.passed else 1


def _tell_result(report: Report, folder: Path | None, as_json: bool, quiet: bool) -> None:
    from cake_onnx.report.model import to_json
    from cake_onnx.report.table import summary_rows

    if as_json:
        print_line(to_json(report).rstrip())
        return
    print_table(summary_rows(report), ("", "teacher", "student", ""))
    print_line("")
    print_line(report.verdict)
    for assumption in report.assumptions if report.input.bounds_assumed and not quiet else ():
        note(assumption)
    if folder is not None:
        print_line(f"The files are in {folder}: open report.html there.")


def _show_finished(workspace: Workspace, as_json: bool, quiet: bool) -> int:
    from cake_onnx.report.model import Report

    report = Report.model_validate_json((workspace.folder / "report.json").read_bytes())
    if not quiet:
        note(f"{workspace.folder} already holds the result of this very run; --overwrite makes it anew.")
    _tell_result(report, workspace.folder, as_json, quiet)
    return 0 if report.passed else 1


def _how_to_resume(workspace: Workspace) -> str:
    if not workspace.has_state:
        return "Interrupted before anything was worth keeping; nothing was written."
    given: list[str] = click.get_current_context().find_root().obj
    # Repeated, --overwrite would throw away what the line is meant to go on from.
    words = [word for word in given if word != "--overwrite"]
    from cake_onnx.ranks import program, ranks

    return f"Interrupted. To go on: {program(ranks())} {shlex.join(words)}"


def _answer(facts: dict[str, Any], as_json: bool) -> int:
    if as_json:
        import json

        print_line(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_facts((name, str(value)) for name, value in facts.items())
    return 0
