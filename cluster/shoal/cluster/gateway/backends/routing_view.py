"""The routing table that a gateway goes by, and the news that it has changed."""

import asyncio

from shoal.cluster.rpc.routing import RoutingTable


class RoutingView:
    """Holds the youngest table seen; belongs to one event loop."""

    def __init__(self) -> None:
        self.table = RoutingTable()
        self._changed = asyncio.Event()

    @property
    def known(self) -> bool:
        """True once a coordinator has told where things are."""
        return self.table.epoch > 0

    def offer(self, table: RoutingTable) -> bool:
        """Takes a table unless the one at hand is as young; says whether it was taken."""
        if self.table.newer(table) is self.table:
            return False
        self.table = table
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return True

    async def change(self, within_s: float) -> bool:
        """Waits for the next change, but no longer than `within_s`; says whether there was one."""
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
