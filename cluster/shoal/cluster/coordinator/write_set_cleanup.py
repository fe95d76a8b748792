"""Deletes write sets that tokens no longer need, so that the ledger does not grow with the number of writes."""

from __future__ import annotations

import asyncio
import logging

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.ledger.errors import Deposed, LedgerError

log = logging.getLogger(__name__)

EVERY_S = 10.0
SHOWN_KEPT_S = 60.0
"""A set stays this long after its write, also when all of it is shown at once."""
LONGEST_KEPT_S = 3600.0
"""A set goes after this time even if a document of it is still pending. Its token then waits for the documents that the
write changed first or last among the changes that are not shown."""
SETS_PER_TRANSACTION = 2000


async def clean_write_sets(ledger: LedgerAccess) -> None:
    """Runs until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        now_ms = wall_clock_ms()
        shown_before_ms, any_before_ms = now_ms - int(SHOWN_KEPT_S * 1000), now_ms - int(LONGEST_KEPT_S * 1000)
        forgotten = SETS_PER_TRANSACTION
        while forgotten == SETS_PER_TRANSACTION:
            try:
                forgotten = await ledger.threads.write(
                    ledger.progress.forget_write_sets, shown_before_ms, any_before_ms, SETS_PER_TRANSACTION
                )
            except Deposed:
                raise
            except LedgerError as error:
                log.warning("write sets could not be deleted: %s", error)
                break
