"""Entry point: one group, one place where errors become messages and exit codes."""

from __future__ import annotations

import logging
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
from cake_onnx.errors import CakeError, UsageError

INTERRUPTED = 130


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
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command.

    Returns:
        0 done, 1 a gate failed, 2 usage, 3 teacher not supported, 4 failed, 130 interrupted.
    """
    verbose = any(re.fullmatch("--verbose|-[qv]*v[qv]*", argument) for argument in arguments)
    with _voice(verbose):
        return _run(arguments, verbose)


def _run(arguments: list[str], verbose: bool) -> int:
    try:
        code = group.main(arguments, prog_name="cake-onnx", standalone_mode=False, obj=arguments)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        note(error.format_message())
        return 2
    except click.ClickException as error:
        note(f"cake-onnx: {explain(error, arguments)}")
        return UsageError.exit_code
    except CakeError as error:
        note(f"cake-onnx: {error}")
        if verbose:
            traceback.print_exc()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        # Not swallowed: told in one line with its kind, and whole with -v.
        note(f"cake-onnx: this is a bug, not your doing: {type(error).__name__}: {_first_line(error)}")
        note("Run it again with -v and report what it prints.")
        if verbose:
            traceback.print_exc()
        return CakeError.exit_code
    return code if isinstance(code, int) else 0


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
