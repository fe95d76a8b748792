"""The current routing table of a gateway, with notification of changes."""

import asyncio

from shoal.cluster.rpc.routing import RoutingTable


class RoutingView:
    """Holds the newest table seen; belongs to one event loop."""

    def __init__(self) -> None:
        self.table = RoutingTable()
        self.following = False
        """True while a coordinator sends its routing table."""
        self._changed = asyncio.Event()

    @property
    def known(self) -> bool:
        """True once a coordinator has sent a routing table."""
        return self.table.epoch > 0

    def offer(self, table: RoutingTable) -> bool:
        """Replaces the current table if `table` is newer; returns whether it did."""
        if self.table.newer(table) is self.table:
            return False
        self.table = table
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return True

    async def change(self, within_s: float) -> bool:
        """Waits for the next change, but no longer than `within_s`; returns whether there was one."""
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
