"""Entry point: one group, one place where errors become messages and exit codes."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from cake_onnx.cli.commands import compress, inspect, synthesize, validate
from cake_onnx.cli.help import ExampleGroup
from cake_onnx.cli.mistakes import explain
from cake_onnx.cli.show import note
from cake_onnx.cli.threads import wait_briefly
from cake_onnx.errors import CakeError, UsageError

INTERRUPTED = 130
_PLACE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which `torchrun`, or whoever else starts several processes, tells each where it stands."""


@click.group(
    cls=ExampleGroup,
    example="cake-onnx compress model.onnx --input-range 0,1 --compression 4x",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="cake-onnx", prog_name="cake-onnx")
def group() -> None:
    """Make an ONNX classifier smaller and faster, without any data, and say how alike the two are."""


for command in (compress, inspect, synthesize, validate):
    group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    # onnxruntime (Linux, since 1.29) reports to its maker, and names and hashes of models are among what it
    # can report. Whoever hands a model over may not want that. A variable that is set already stays.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    wait_briefly()
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command.

    Returns:
        0 done, 1 a gate failed, 2 usage, 3 teacher not supported, 4 failed, 130 interrupted.
    """
    verbose = any(re.fullmatch("--verbose|-[qv]*v[qv]*", argument) for argument in arguments)
    with _voice(verbose), _together():
        return _run(arguments, verbose)


def _run(arguments: list[str], verbose: bool) -> int:
    try:
        if _several():
            from cake_onnx.ranks import join

            join(os.environ)
        code = group.main(arguments, prog_name="cake-onnx", standalone_mode=False, obj=arguments)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        return _fail(2, error.format_message())
    except click.ClickException as error:
        return _fail(UsageError.exit_code, f"cake-onnx: {explain(error, arguments)}")
    except CakeError as error:
        return _fail(error.exit_code, f"cake-onnx: {error}", trace=verbose)
    except (KeyboardInterrupt, click.Abort):
        return _fail(INTERRUPTED)
    except Exception as error:
        # Not swallowed: told in one line with its kind, and whole with -v.
        bug = f"cake-onnx: this is a bug, not your doing: {type(error).__name__}: {_first_line(error)}"
        return _fail(
            CakeError.exit_code, bug, "Run it again with -v and report what it prints.", trace=verbose
        )
    return code if isinstance(code, int) else 0


def _fail(code: int, *lines: str, trace: bool = False) -> int:
    """Tell an error, once for all ranks, and give the code that all of them end with."""
    first = True
    if _several():
        from cake_onnx.ranks import settle

        code, first = settle(code, os.environ)
    if first:
        for line in lines:
            note(line)
        if trace:
            traceback.print_exc()
    return code


def _several() -> bool:
    return all(name in os.environ for name in _PLACE) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    finally:
        if _several():
            from cake_onnx.ranks import leave

            leave()


@contextmanager
def _voice(verbose: bool) -> Iterator[None]:
    """Let the library's log and all warnings through to stderr, or neither."""
    log, handler = logging.getLogger("cake_onnx"), _Notes()
    level = log.level
    with warnings.catch_warnings():
        if verbose:
            log.addHandler(handler)
            log.setLevel(logging.DEBUG)
        else:
            # Deprecations inside the exporter say nothing to a user of this command.
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)


class _Notes(logging.Handler):
    """Writes where `note` writes, so that a bar that is being drawn is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
