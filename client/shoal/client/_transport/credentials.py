"""How both clients connect, and what they send to prove who they are: the one place that decides it.

Today no connection is encrypted and no call carries credentials.
"""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import grpc
import grpc.aio

from shoal.client._transport.channel import channel_options


def open_channel(target: str) -> grpc.Channel:
    """A channel to the gateway at `target`, as `parse_target` gives it."""
    return grpc.insecure_channel(target, channel_options())


def open_async_channel(target: str) -> grpc.aio.Channel:
    """The same for the running event loop."""
    return grpc.aio.insecure_channel(target, channel_options())
