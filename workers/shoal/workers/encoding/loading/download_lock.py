"""A lock per model and machine for downloads: one process downloads, the others wait and find the model in the cache."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from shoal.workers.runtime import lock_file

log = logging.getLogger(__name__)


@contextlib.contextmanager
def download_lock(cache: Path, repository: str) -> Iterator[None]:
    """Holds the lock of a hub repository ("organisation/name") in a cache folder; waits until it is free.

    The kernel drops the lock when its process ends, however it ends. A read-only cache is not locked: nothing can be
    downloaded into it either.
    """
    file = cache / ".locks" / f"shoal--{repository.replace('/', '--')}.lock"
    with contextlib.ExitStack() as held:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_file(file, wait=True))
        except OSError as error:
            # Some network file systems have no locks: then each process downloads its own copy.
            log.warning("downloading %s without a lock: %s", repository, error)
        yield
