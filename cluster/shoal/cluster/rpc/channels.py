"""One gRPC channel for each internal address, shared by all calls to it. Calls themselves are made elsewhere."""

from __future__ import annotations

import grpc.aio

from shoal.workers.runtime import InternalCredentials, internal_options


class Channels:
    """Opens channels when they are first asked for; belongs to one event loop."""

    def __init__(self, credentials: InternalCredentials) -> None:
        self._credentials = credentials
        self.metadata = credentials.metadata()
        """To be sent with each call."""
        self._open: dict[str, grpc.aio.Channel] = {}

    def get(self, address: str) -> grpc.aio.Channel:
        """The channel to `host:port`."""
        channel = self._open.get(address)
        if channel is None:
            # A process that comes back has a new port, so a broken channel is never worth a long wait.
            options = [
                *internal_options(),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ]
            channel = self._open[address] = self._credentials.open_channel(address, options)
        return channel

    async def close(self, address: str) -> None:
        """Closes the channel to an address that is gone; calls on it fail."""
        channel = self._open.pop(address, None)
        if channel is not None:
            await channel.close()

    async def keep(self, addresses: set[str]) -> None:
        """Closes every channel to an address that is not in use any more."""
        for address in [address for address in self._open if address not in addresses]:
            await self.close(address)

    async def close_all(self) -> None:
        """Closes every channel."""
        await self.keep(set())
