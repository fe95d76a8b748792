"""A row of a file, or a row that cannot be read. `reading` gives them, and `mapping` says what a row means."""

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
