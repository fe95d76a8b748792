"""The rows of a file, those that cannot be read, and the message about these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and its line in the file, or its number in a Parquet file. Both count from 1."""

    line: int
    values: Mapping[str, Any]
    """Strings in a table; in other formats JSON types and bytes."""


@dataclass(frozen=True, slots=True)
class BareRow:
    """A row of a table that may have no header. `line` counts as in Row."""

    line: int
    fields: list[str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read or is not a valid record. `line` counts as in Row; `id` is "" if it is unknown."""

    line: int
    reason: str
    """The kind of mistake, and after a colon its details: equal mistakes have equal text before the colon."""
    id: str = ""
    whole_file: bool = field(default=False, compare=False)
    """True if no row of the file can be read, because its header is wrong."""


def row_message(source: str, line: int, reason: str) -> str:
    """The message about a bad row, in one line. Control characters are dropped: a file must not control a terminal."""
    message = f"{source}:{line}: {' '.join(reason.split())}"
    return "".join(char for char in message if char.isprintable())
