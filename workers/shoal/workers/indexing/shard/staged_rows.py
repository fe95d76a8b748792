"""Recently staged rows, kept so that the following sync need not read their file."""

from __future__ import annotations

import threading
from collections import OrderedDict

from shoal.workers.indexing.rows import Rows


class StagedRows:
    """The newest staged rows by checksum, up to `limit` bytes. Safe to use from many threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._rows: OrderedDict[str, Rows] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, checksum: str, rows: Rows) -> None:
        """Keeps rows, and drops the oldest ones that no longer fit."""
        with self._lock:
            self._drop(checksum)
            self._rows[checksum] = rows
            self._bytes += rows.size
            while self._bytes > self._limit:
                self._drop(next(iter(self._rows)))

    def find(self, checksum: str) -> Rows | None:
        """The rows of the file with this checksum, if they are still kept."""
        with self._lock:
            return self._rows.get(checksum)

    def forget(self, checksum: str) -> None:
        """Drops rows that have been applied."""
        with self._lock:
            self._drop(checksum)

    def _drop(self, checksum: str) -> None:
        rows = self._rows.pop(checksum, None)
        if rows is not None:
            self._bytes -= rows.size
