"""What a connection needs: target, options, stubs and timeouts. The clients make the calls."""

from __future__ import annotations

from typing import Any

from shoal.client.errors import InvalidArgument
from shoal.v1.collections_pb2_grpc import CollectionServiceStub
from shoal.v1.documents_pb2_grpc import DocumentServiceStub
from shoal.v1.embedding_pb2_grpc import EmbeddingServiceStub
from shoal.v1.keys_pb2_grpc import KeyServiceStub
from shoal.v1.search_pb2_grpc import SearchServiceStub
from shoal.v1.status_pb2_grpc import StatusServiceStub

DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_PORT = 50051
DEFAULT_TIMEOUT_S = 30.0
RECEIVE_BYTES = 256 * 1024 * 1024
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:")


def parse_target(address: str) -> str:
    """The gRPC target for `host`, `host:port`, `[v6]:port`, or a gRPC URI; raises InvalidArgument for anything else."""
    usual = f"address {address!r} is not HOST:PORT"
    if not address.isprintable():
        raise InvalidArgument(usual, field="address", value=ascii(address))
    if address.startswith(_SCHEMES):
        if not address.partition(":")[2].strip("/"):
            raise InvalidArgument(usual, field="address", value=address)
        return address
    host, colon, port = address.rpartition(":")
    if (address.startswith("[") and address.endswith("]")) or not colon:
        host, port = address, str(DEFAULT_PORT)
    if not host or "/" in host or (":" in host and not host.startswith("[")) or any(char.isspace() for char in host):
        raise InvalidArgument(usual, field="address", value=address)
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise InvalidArgument(
            f"address {address!r}: the port must be 1 to 65535", field="address", value=address, limit=65535
        )
    return f"{host}:{port}"


def channel_options() -> list[tuple[str, int]]:
    """Options of both clients' channels."""
    return [
        # The server decides which message is too large.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", RECEIVE_BYTES),
        # A server that vanished without closing the connection is detected within 40 s of a call's start.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # The retry policy paces attempts, so the channel must be ready to connect at each of them.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


class Stubs:
    """The stubs of every service on one channel, sync or async."""

    def __init__(self, channel: Any) -> None:
        """`channel` is a grpc.Channel, a grpc.aio.Channel, or an AuthorizedChannel of one of them."""
        # The generated stubs are typed for one kind of channel or the other; `Call` names methods for both.
        either: Any = channel
        self.collections: Any = CollectionServiceStub(either)
        self.documents: Any = DocumentServiceStub(either)
        self.embedding: Any = EmbeddingServiceStub(either)
        self.keys: Any = KeyServiceStub(either)
        self.search: Any = SearchServiceStub(either)
        self.status: Any = StatusServiceStub(either)


def timeout_s(given: float | None, default: float) -> float:
    """A call's timeout in seconds; raises InvalidArgument unless it is above 0 and finite."""
    timeout = default if given is None else given
    if not 0 < timeout < float("inf"):
        raise InvalidArgument(
            f"timeout must be a number of seconds above 0, not {timeout}",
            field="timeout",
            value=str(timeout),
            limit=0,
        )
    return timeout
