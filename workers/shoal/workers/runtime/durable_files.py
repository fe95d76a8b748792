"""Whole-file writes: a file appears complete under its name, or not at all."""

from __future__ import annotations

import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_PARTIAL = ".partial"


def partial_name(name: str) -> str:
    """A name, or path, to write to before the content gets the name `name`. Different for each call."""
    return f"{name}.{secrets.token_hex(4)}{_PARTIAL}"


def is_partial(name: str) -> bool:
    """Whether a file or folder has a name from `partial_name`. A killed process leaves such names behind."""
    return name.endswith(_PARTIAL)


def partial_siblings(path: Path) -> list[Path]:
    """What writers of `path` are still writing, or left behind when they were killed."""
    return list(path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 8}{_PARTIAL}"))


@contextmanager
def whole_file(path: Path, durable: bool = True, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write to. It gets its name at the end of the block, or is removed if the block raises.

    `durable` waits until the file and its name are on disk; `mode` is reduced by the umask. Raises OSError, and the old
    file, if any, stays; if only the last sync of the folder fails, the new file is in place but a power cut may undo it.
    """
    partial = path.with_name(partial_name(path.name))
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk. Raises OSError, except on file systems that cannot sync a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
