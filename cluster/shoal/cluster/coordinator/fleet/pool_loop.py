"""Keeps the encoder pools at the size that their load needs, and closes channels that are no longer used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shoal.cluster.coordinator.fleet.pools import RESIZE_EVERY_S, EncoderPools
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.rpc.channels import Channels

log = logging.getLogger(__name__)


class PoolLoop:
    """Belongs to the coordinator's event loop."""

    def __init__(self, pools: EncoderPools, supervisor: Supervisor, channels: Channels, resized: Callable[[], None]) -> None:
        """`resized` is called after every round, in which loads and sizes may have changed."""
        self._pools = pools
        self._supervisor = supervisor
        self._channels = channels
        self._resized = resized

    async def run(self) -> None:
        """Takes over the replicas that exist, then runs until cancelled."""
        await self._pools.adopt()
        while True:
            try:
                await self._pools.resize()
            except Exception:
                # The ledger may be away for a while; the pools stay as they are.
                log.exception("encoder pools could not be resized")
            await self._channels.keep(self._supervisor.addresses)
            self._resized()
            await asyncio.sleep(RESIZE_EVERY_S)
