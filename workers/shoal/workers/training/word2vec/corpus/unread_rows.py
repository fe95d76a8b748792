"""The rows of a corpus without a text that can be read. Kept on disk while a unit is scanned, because there may be many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from shoal.workers.runtime import error_line, whole_file
from shoal.workers.training.word2vec.errors import TrainingError, writing

_SUFFIX = ".unread"


@dataclass(frozen=True, slots=True)
class UnreadRow:
    """A row without a text that can be read, or the damage with which a file ends."""

    path: str
    line: int
    """Its line, or its number in a Parquet file, from 1."""
    reason: str


class UnreadRows:
    """Writes the unread rows of a unit, if there are any. A context manager; the file appears at the end of its block."""

    def __init__(self, folder: Path, unit: str) -> None:
        self._path = folder / f"{unit}{_SUFFIX}"
        self._file: IO[bytes] | None = None
        self._open = ExitStack()

    def add(self, row: UnreadRow) -> None:
        """One more. Raises TrainingError when it cannot be written."""
        if self._file is None:
            self._open.enter_context(writing(self._path))
            self._file = self._open.enter_context(whole_file(self._path))
        self._file.write(json.dumps(asdict(row)).encode() + b"\n")

    def __enter__(self) -> UnreadRows:
        self._open.__enter__()
        return self

    def __exit__(self, *raised: object) -> bool | None:
        return self._open.__exit__(*raised)  # type: ignore[arg-type]


def unread_rows(folder: Path) -> Iterator[UnreadRow]:
    """The unread rows of all units that were scanned to `folder`, in the order of the corpus. Raises TrainingError."""
    for path in sorted(folder.glob(f"unit-*{_SUFFIX}")):
        try:
            with path.open("rb") as file:
                for line in file:
                    yield UnreadRow(**json.loads(line))
        except OSError as error:
            raise TrainingError(f"{path}: cannot be read: {error_line(error)}") from error
