"""Holds the coordinator's lease: acquires it, renews it, and gives it back."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Engine

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.ledger_threads import LedgerThreads
from shoal.cluster.ledger.errors import LeaseHeld, LedgerError
from shoal.cluster.ledger.lease import acquire_lease, release_lease, renew_lease

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
LONGEST_WAIT_S = 1.0
"""Pause between attempts to acquire a lease that another coordinator holds: it may give it back early."""


class LeaseKeeper:
    """A lease that has been acquired. Belongs to the coordinator's event loop."""

    def __init__(self, engine: Engine, threads: LedgerThreads, epoch: int, lease_s: float) -> None:
        self._engine = engine
        self._threads = threads
        self._lease_s = lease_s
        self.epoch = epoch
        """Grows with every acquisition; whoever holds an older one can no longer write."""

    @classmethod
    async def acquire(cls, engine: Engine, threads: LedgerThreads, holder: str, address: str, lease_s: float) -> LeaseKeeper:
        """Acquires the lease, after another holder's has ended. `address` tells gateways where the coordinator is."""
        while True:
            try:
                epoch = await threads.write(acquire_lease, engine, holder, address, int(lease_s * 1000), wall_clock_ms())
                return cls(engine, threads, epoch, lease_s)
            except LeaseHeld as held:
                log.warning("%s; waiting", held)
                await asyncio.sleep(min(held.expires_in_ms / 1000 + 0.05, LONGEST_WAIT_S))

    async def run(self) -> None:
        """Renews the lease until cancelled."""
        while True:
            await asyncio.sleep(self._lease_s / RENEWALS_PER_LEASE)
            await self.renew()

    async def renew(self) -> None:
        """Keeps the lease for its whole time from now on, if the ledger can be written."""
        try:
            await self._threads.write(renew_lease, self._engine, self.epoch, int(self._lease_s * 1000), wall_clock_ms())
        except LedgerError as error:
            # If the coordinator is deposed, `threads` has already reported it. Any other error may pass, and the epoch
            # protects the ledger in any case.
            log.warning("the lease could not be renewed: %s", error)

    async def release(self) -> None:
        """Lets another coordinator acquire the lease at once. Without a ledger it expires by itself."""
        try:
            await self._threads.write(release_lease, self._engine, self.epoch)
        except LedgerError as error:
            log.warning("the lease could not be released: %s", error)
