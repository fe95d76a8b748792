"""A row of a file, or a row that cannot be read, with its message. `reading` gives them; `mapping` says what a row means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and its line in the file; in a Parquet file its number. Both count from 1."""

    line: int
    values: Mapping[str, Any]
    """Strings in a table; in terms of JSON, and of Python's bytes, elsewhere."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, or has no record in it. `line` counts as in Row; `id` is "" where it is unknown."""

    line: int
    reason: str
    """What is wrong, and after a colon the particular case: what stands before it is the same for the same mistake."""
    id: str = ""
    whole_file: bool = field(default=False, compare=False)
    """True where it stands for all rows of its file: the header is wrong."""


def row_message(source: str, line: int, reason: str) -> str:
    """The message about a bad row, in one line. Control characters are dropped: a file must not control a terminal."""
    message = f"{source}:{line}: {' '.join(reason.split())}"
    return "".join(char for char in message if char.isprintable())
