"""One gRPC channel per internal address, shared by all calls to it."""

from __future__ import annotations

import grpc.aio

from shoal.workers.runtime import InternalCredentials, internal_options


class Channels:
    """Opens channels on first use; belongs to one event loop."""

    def __init__(self, credentials: InternalCredentials) -> None:
        self._credentials = credentials
        self.metadata = credentials.metadata()
        """Must be sent with each call."""
        self._open: dict[str, grpc.aio.Channel] = {}

    def get(self, address: str) -> grpc.aio.Channel:
        """The channel to `host:port`."""
        channel = self._open.get(address)
        if channel is None:
            # A restarted process gets a new port, so a long reconnect backoff is never useful.
            options = [
                *internal_options(),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ]
            channel = self._open[address] = self._credentials.open_channel(address, options)
        return channel

    async def close(self, address: str) -> None:
        """Closes the channel to an address; calls on it fail."""
        channel = self._open.pop(address, None)
        if channel is not None:
            await channel.close()

    async def keep(self, addresses: set[str]) -> None:
        """Closes every channel to an address not in `addresses`."""
        for address in [address for address in self._open if address not in addresses]:
            await self.close(address)

    async def close_all(self) -> None:
        """Closes every channel."""
        await self.keep(set())
