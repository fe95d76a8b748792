"""Reports the rows of a user's input that a command cannot use."""

from __future__ import annotations

from collections.abc import Callable

import click

REPORTED_ROWS = 20


def _print(line: str) -> None:
    click.echo(line, err=True)


class BadRowReport:
    """Prints the first bad rows, on stderr unless `show` prints them elsewhere, and counts all of them."""

    def __init__(self, show: Callable[[str], None] = _print) -> None:
        self._show = show
        self.count = 0

    def add(self, message: str) -> None:
        """One bad row: its message from `shoal.records.row_message`."""
        self.count += 1
        if self.count <= REPORTED_ROWS:
            self._show(message)
        elif self.count == REPORTED_ROWS + 1:
            self._show("further bad rows are counted, not shown")
