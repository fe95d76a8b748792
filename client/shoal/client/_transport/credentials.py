"""How both clients connect, and what they send to prove who they are: the one place that decides it.

Today no connection is encrypted.
"""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

from functools import partial
from typing import Any

import grpc
import grpc.aio

from shoal.client._transport.channel import channel_options
from shoal.client.errors import InvalidArgument

AUTHORIZATION = "authorization"


def open_channel(target: str) -> grpc.Channel:
    """A channel to the gateway at `target`, as `parse_target` gives it."""
    return grpc.insecure_channel(target, channel_options())


def open_async_channel(target: str) -> grpc.aio.Channel:
    """The same for the running event loop."""
    return grpc.aio.insecure_channel(target, channel_options())


def check_api_key(api_key: str | None) -> str | None:
    """The key to send, None for none; raises InvalidArgument, without the key, for what cannot be one."""
    if api_key is None:
        return None
    key = api_key.strip()
    if not key:
        raise InvalidArgument("api_key is empty: leave it out for a server that needs none", field="api_key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidArgument("api_key has characters that no key has", field="api_key")
    return key


class AuthorizedChannel:
    """Stands for a channel of either kind where stubs are made; every call carries the key."""

    def __init__(self, channel: Any, api_key: str) -> None:
        self._channel = channel
        self._metadata = ((AUTHORIZATION, f"Bearer {api_key}"),)

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """As the channel's own."""
        return partial(self._channel.unary_unary(*args, **options), metadata=self._metadata)

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """As the channel's own."""
        return partial(self._channel.stream_stream(*args, **options), metadata=self._metadata)
