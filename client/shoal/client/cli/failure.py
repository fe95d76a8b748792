"""How a command ends when it cannot do what was asked: one line on stderr, and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

INTERRUPTED = 130


class Failure(click.ClickException):
    """Ends the command with exit code 1 and one line on stderr."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"shoal: {' '.join(self.format_message().split())}", file=file, err=file is None)
