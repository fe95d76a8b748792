"""A file whose lock says that a process works in its folder. It is dropped with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class LockHeld(Exception):
    """Another process has the lock."""

    def __init__(self, holder: str) -> None:
        """`holder` is that process's number, or "unknown"."""
        super().__init__(holder)
        self.holder = holder


def lock_file(path: Path) -> IO[str]:
    """Locks the file, which is made if need be, and writes this process's number to it; closing it drops the lock.

    Raises LockHeld, and OSError when it cannot be opened or lies on a file system without locks.
    """
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise LockHeld(holder) from None
    except OSError:
        lock.close()
        raise
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
