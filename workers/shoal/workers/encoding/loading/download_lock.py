"""One download of a model for each machine: whoever comes later waits, and finds it in the cache. What is fetched is decided
elsewhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from shoal.workers.runtime import lock_file

log = logging.getLogger(__name__)


@contextlib.contextmanager
def download_lock(cache: Path, repository: str) -> Iterator[None]:
    """Holds the lock of a hub repository ("organisation/name") in a cache folder, waiting for whoever has it.

    The kernel drops the lock however its holder ends. A cache that cannot be written to is not locked: nothing can be
    downloaded into it either.
    """
    file = cache / ".locks" / f"shoal--{repository.replace('/', '--')}.lock"
    with contextlib.ExitStack() as held:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_file(file, wait=True))
        except OSError as error:
            # Some network file systems have no locks either: then each process downloads for itself.
            log.warning("%s is downloaded without a lock: %s", repository, error)
        yield
