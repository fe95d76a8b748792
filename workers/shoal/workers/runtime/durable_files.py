"""A file that appears whole under its name, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from shoal.workers.training.word2vec.errors import TrainingError

PARTIAL = ".partial-"
"""Stands in the names of files that are being written; what a killed process leaves bears such a name."""


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, which gets its name at the end of the block, or is removed when the block raises.

    `durable` waits until the disk has it. Raises TrainingError, also for an OSError in the block: an old file then stays.
    """
    partial = path.with_name(f"{path.name}{PARTIAL}{secrets.token_hex(4)}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TrainingError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise
