"""The command: Olive's workflows, with an exit code that means something."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cake_onnx.cli.threads import wait_briefly
from cake_onnx_olive.errors import DistillationError, ending_the_run

if TYPE_CHECKING:
    from cake_onnx_olive.workflow import Outcome

INTERRUPTED = 130
_TABLE = click.option(
    "--package-config",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="A table of passes to add ours to.  [default: Olive's own, as installed]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="cake-onnx-olive", prog_name="cake-onnx-olive")
def group() -> None:
    """Run workflows of Microsoft Olive that distil without data.

    Exit codes: 0 there is an output model and it passed, 1 it is not good enough, 2 the workflow cannot be
    used, 3 the model is not a classifier that can be distilled, 4 the run failed, 130 interrupted.
    """


@group.command()
@click.argument("config", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@_TABLE
def run(config: Path, package_config: Path | None) -> None:
    """Run CONFIG, a workflow as JSON or YAML; the log goes to stderr, the result to stdout."""
    from cake_onnx_olive.workflow import run_workflow

    _send_log_to_stderr()
    with contextlib.redirect_stdout(sys.stderr):  # some passes print
        outcome = run_workflow(config, package_config)
    click.echo(closing_note(outcome))


@group.command("package-config")
@_TABLE
def show_table(package_config: Path | None) -> None:
    """Print the table for `olive run --package-config`: every installed pass, and ours."""
    from cake_onnx_olive.registration import package_config_text

    with ending_the_run():
        text = package_config_text(package_config)
    click.echo(text, nl=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    # Olive sends telemetry unless it is on a CI machine; its own switch comes after the first message. An
    # empty CI leaves it to Olive.
    os.environ.setdefault("CI", "1")
    wait_briefly()
    try:
        group.main(list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        _fail(2, error.format_message())
    except DistillationError as error:
        _fail(error.exit_code, str(error))
    except (KeyboardInterrupt, click.Abort):
        _fail(
            INTERRUPTED,
            "interrupted; the same command goes on after the last pass that ended",
        )


def closing_note(outcome: Outcome) -> str:
    """The model, its size, and how alike it is: one line each."""
    lines = [f"{outcome.model}: {outcome.bytes:,} bytes"]
    told = outcome.distillation
    if told:
        lines[0] += f", {told['bytes']['teacher'] / outcome.bytes:.1f}x smaller than the teacher"
        lines.append(f"Distilled: {told['verdict']}")
    for name, value in outcome.metrics.items():
        before = outcome.input_metrics.get(name)
        lines.append(
            f"Evaluated: {name} {value:.6g}" + ("" if before is None else f" (input model {before:.6g})")
        )
    lines.extend(f"Olive went on after {error}" for error in outcome.skipped)
    return "\n".join(lines)


def _send_log_to_stderr() -> None:
    for name in ("olive", "onnxruntime"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.setStream(sys.stderr)


def _fail(code: int, message: str) -> None:
    click.echo(f"cake-onnx-olive: {message}", err=True)
    sys.exit(code)
