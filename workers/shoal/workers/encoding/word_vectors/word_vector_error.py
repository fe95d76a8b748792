"""The error of tables of word vectors that cannot be written or converted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.workers.runtime import error_line


class WordVectorError(Exception):
    """The message is one line and names the file or folder and what is wrong with it."""


@contextmanager
def writing_vectors(path: Path) -> Iterator[None]:
    """Raises an OSError in the block as a WordVectorError: `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise WordVectorError(f"{path}: cannot be written: {error_line(error)}") from error
