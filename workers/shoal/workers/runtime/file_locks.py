"""Locks on files and folders. The kernel drops a lock when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class LockHeld(Exception):
    """Another process holds the lock."""

    def __init__(self, holder: str) -> None:
        """`holder` is the id of that process, or "unknown"."""
        super().__init__(holder)
        self.holder = holder


def lock_file(path: Path, wait: bool = False) -> IO[str]:
    """Locks the file, creating it if needed, and writes this process's id to it. Closing the file drops the lock.

    With `wait`, blocks until the lock is free; otherwise raises LockHeld if it is not. Raises OSError if the file cannot be
    opened or its file system has no locks.
    """
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise LockHeld(holder) from None
    except OSError:
        lock.close()
        raise
    return lock


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Holds a lock on an existing folder. Raises LockHeld if another process holds it, and OSError as `lock_file` does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld("unknown") from None
        yield
    finally:
        os.close(handle)
