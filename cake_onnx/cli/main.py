"""Entry point: one group, one place where errors become messages and exit codes."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Sequence

import click

from cake_onnx.cli.commands import compress, inspect, synthesize, validate
from cake_onnx.cli.help import ExampleGroup
from cake_onnx.cli.show import note
from cake_onnx.errors import CakeError

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
    verbose = any(argument in ("-v", "--verbose") for argument in arguments)
    _listen(verbose)
    try:
        code = group.main(arguments, prog_name="cake-onnx", standalone_mode=False, obj=arguments)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        note(error.format_message())
        return 2
    except click.ClickException as error:
        note(f"cake-onnx: {error.format_message()}")
        note("Try 'cake-onnx --help'.")
        return 2
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


def _listen(verbose: bool) -> None:
    if verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
        logging.getLogger("cake_onnx").setLevel(logging.DEBUG)
    else:
        # Deprecations inside the exporter say nothing to a user of this command.
        warnings.simplefilter("ignore")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
