"""Reports the rows of a user's input that a command cannot use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

import click

REPORTED_ROWS = 20


class UnusableRow(Protocol):
    """A row as it is reported, such as `shoal.records.RejectedRow`."""

    @property
    def message(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def json(self) -> str: ...


def _print(line: str) -> None:
    click.echo(line, err=True)


class BadRowReport:
    """Prints the first bad rows, on stderr unless `show` prints them elsewhere, and counts all of them by their kind.

    A context manager that keeps all of them in the file `rejects`, as JSON lines, if it is given. Raises OSError.
    """

    def __init__(self, show: Callable[[str], None] = _print, rejects: Path | None = None) -> None:
        self._show = show
        self.kinds: Counter[str] = Counter()
        self._rejects = None if rejects is None else rejects.open("w", encoding="utf-8")

    @property
    def count(self) -> int:
        """How many there were."""
        return self.kinds.total()

    def add(self, row: UnusableRow) -> None:
        """One bad row."""
        self.kinds[row.kind] += 1
        if self._rejects is not None:
            self._rejects.write(row.json + "\n")
        if self.count <= REPORTED_ROWS:
            self._show(row.message)
        elif self.count == REPORTED_ROWS + 1:
            self._show("further bad rows are counted, not shown")

    def __enter__(self) -> BadRowReport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._rejects is not None:
            self._rejects.close()
