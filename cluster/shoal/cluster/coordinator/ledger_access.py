"""The ledger as the holder of its lease uses it."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.writer import LedgerWriter


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """One coordinator's way to the ledger, shared by its parts. Writes raise Deposed once another holds the lease."""

    threads: LedgerThreads
    """Where every call to the two below runs."""
    writer: LedgerWriter
    progress: LedgerProgress
    epoch: int
    """Of the lease; index workers refuse an older one."""
