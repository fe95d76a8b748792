"""Access to the ledger for the holder of its lease."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.writer import LedgerWriter


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """Shared by the parts of one coordinator. Writes raise Deposed once another coordinator holds the lease."""

    threads: LedgerThreads
    """All calls to the two below run on these."""
    writer: LedgerWriter
    progress: LedgerProgress
    epoch: int
    """The lease's epoch; index workers refuse an older one."""
