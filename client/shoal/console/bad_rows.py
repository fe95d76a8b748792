"""Reports the rows of a user's input that a command cannot use."""

from __future__ import annotations

import click

REPORTED_ROWS = 20


class BadRowReport:
    """Prints the first bad rows on stderr, counts all of them."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, line: str) -> None:
        """One bad row: where it is and what is wrong with it. Control characters are dropped."""
        self.count += 1
        if self.count <= REPORTED_ROWS:
            click.echo("".join(char for char in line if char.isprintable()), err=True)
        elif self.count == REPORTED_ROWS + 1:
            click.echo("further bad rows are counted, not shown", err=True)
