"""How a command ends when it cannot do what was asked: an exit code, and one line on stderr that begins with "shoal: ".

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C).
"""

from __future__ import annotations

from typing import IO, Any

import click

FAILED = 1
INTERRUPTED = 130
# A group without a command raises it and means its help (click 8.2 and newer).
_HELP_IS_THE_ERROR: type[Exception] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())


class Failure(click.ClickException):
    """Ends the command with exit code 1 and one line on stderr."""

    exit_code = FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        print_error(self.message, file)


def print_error(message: str, file: IO[Any] | None = None) -> None:
    """Prints "shoal: " and the message in one line on stderr or `file`.

    Control characters, which could change the reader's terminal, are printed as escapes.
    """
    line = " ".join(filter(None, (part.strip() for part in message.splitlines())))
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    click.echo(f"shoal: {shown}", file=file, err=file is None)


def show_error(error: click.ClickException) -> None:
    """Prints what click or a command raised; wrong usage after the usage line of its command."""
    if isinstance(error, _HELP_IS_THE_ERROR):
        error.show()
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        context = error.ctx
        click.echo(context.get_usage(), err=True)
        if context.help_option_names:
            click.echo(f"Try '{context.command_path} {context.help_option_names[-1]}' for help.", err=True)
        click.echo(err=True)
    print_error(error.format_message())
