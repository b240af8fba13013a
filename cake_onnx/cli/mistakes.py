"""What click has to say about a command line, in the words of all other errors."""

from __future__ import annotations

import difflib

import click

from cake_onnx.errors import UsageError

_ALIKE = 0.75


def explain(error: click.ClickException, arguments: list[str]) -> UsageError:
    """Expected, found and what to do, from an error of click.

    Args:
        error: What click raised.
        arguments: The words of the command line, without the program.
    """
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else " ".join(["cake-onnx", *arguments[:1]])
    example = getattr(context.command, "example", command) if context else command
    see = f"`{command} --help` tells more"
    match error:
        case click.NoSuchOption():
            near = difflib.get_close_matches(error.option_name, error.possibilities or (), 1, _ALIKE)
            remedy = f"write {near[0]}" if near else f"`{command} --help` lists them"
            return UsageError(f"an option of `{command}`", error.option_name, remedy)
        case click.MissingParameter():
            name = error.param.human_readable_name if error.param else "a value"
            return UsageError(f"{name} after `{command}`", "nothing", f"for example: {example}")
        case click.BadOptionUsage():
            return UsageError(f"a value after {error.option_name}", "none", see)
        case click.BadParameter():
            name = error.param.get_error_hint(context) if error.param and context else "an option"
            return UsageError(f"a usable value for {name}", _plain(error.message), see)
    if context and isinstance(context.command, click.Group):
        return _unknown_command(context.command.list_commands(context), arguments)
    return UsageError(f"a line such as `{example}`", _plain(error.format_message()), see)


def _unknown_command(known: list[str], arguments: list[str]) -> UsageError:
    word = next((word for word in arguments if not word.startswith("-")), "none")
    near = difflib.get_close_matches(word, known, 1, _ALIKE)
    remedy = f"write `{near[0]}`" if near else f"for example: cake-onnx compress {word}"
    return UsageError(f"a command: {', '.join(known)}", f"`{word}`", remedy)


def _plain(message: str) -> str:
    text = " ".join(message.split()).rstrip(".").removeprefix("Got ")
    return text[:1].lower() + text[1:]
