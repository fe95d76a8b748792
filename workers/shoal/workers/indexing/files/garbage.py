"""Deletes files of a generation that no manifest names: leftovers of crashes, and files that sealing has replaced."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from shoal.workers.indexing.files.storage import Storage


def collect_garbage(storage: Storage, generation: int, named: AbstractSet[str], now_s: float, grace_s: float) -> list[str]:
    """Deletes files of a generation that are not `named` and were last changed over `grace_s` ago; returns their paths.

    The grace period protects files that are staged but not committed yet, and files that a worker is about to read:
    `named` must have been read from the ledger before this call. Without a grace period no clock matters, so that a file
    whose storage is ahead of this machine's clock is deleted too.
    """
    gone = [
        file.path
        for file in storage.list(str(generation))
        if file.path not in named and (grace_s == 0 or now_s - file.modified_s >= grace_s)
    ]
    for path in gone:
        storage.delete(path)
    return gone
