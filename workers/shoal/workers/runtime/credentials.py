"""How the server's processes open ports and channels, and what they prove to each other: the one place that decides it.

Today the whole cluster shares one secret, sent with each internal call; the public port asks for nothing; no connection is
encrypted.
"""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import grpc.aio

SECRET_KEY = "shoal-secret"


@dataclass(frozen=True, slots=True)
class InternalCredentials:
    """What all processes of one cluster have in common. An actor gets it from the process that starts it."""

    secret: str = field(repr=False)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a caller sends with each call."""
        return ((SECRET_KEY, self.secret),)

    def admits(self, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
        """True for a call that another process of the cluster made."""
        sent = next((value for key, value in metadata if key == SECRET_KEY), "")
        return hmac.compare_digest(sent if isinstance(sent, bytes) else sent.encode(), self.secret.encode())

    def open_channel(self, address: str, options: Sequence[tuple[str, int]]) -> grpc.aio.Channel:
        """A channel to the internal server at `host:port`."""
        return grpc.aio.insecure_channel(address, options=options)

    def open_port(self, server: grpc.aio.Server, address: str) -> int:
        """Opens an internal server's port and returns its number; raises RuntimeError when it cannot be bound."""
        return server.add_insecure_port(address)


def open_public_port(server: grpc.aio.Server, address: str) -> int:
    """Opens the port for clients and returns its number; raises RuntimeError when it cannot be bound."""
    return server.add_insecure_port(address)
