"""The internal server: calls without the secret, and bytes that are no message."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from shoal.internal.v1 import (
    coordinator_pb2,
    coordinator_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    index_pb2,
    index_pb2_grpc,
)
from shoal.workers.runtime import InternalCredentials, InternalServer

CREDENTIALS = InternalCredentials("a secret of tests")
METHODS = [
    (f"/{service.full_name}/{method.name}", method)
    for module in (coordinator_pb2, encoder_pb2, index_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
NO_MESSAGE = b"\xff\xff\xff"


class Encoder(encoder_pb2_grpc.EncoderServiceServicer):
    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        return encoder_pb2.EncodeResponse(fingerprint=request.fingerprint)


class Coordinator(coordinator_pb2_grpc.CoordinatorServiceServicer):
    async def WatchRouting(
        self, request: coordinator_pb2.WatchRoutingRequest, context: Any
    ) -> AsyncIterator[coordinator_pb2.WatchRoutingResponse]:
        for revision in (1, 2):
            yield coordinator_pb2.WatchRoutingResponse(revision=revision)


def register(server: grpc.aio.Server) -> None:
    # Not all methods have an answer.
    encoder, coordinator, index = (cast(Any, one)() for one in (Encoder, Coordinator, index_pb2_grpc.IndexServiceServicer))
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(encoder, server)
    coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(coordinator, server)
    index_pb2_grpc.add_IndexServiceServicer_to_server(index, server)


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    server = InternalServer(register, CREDENTIALS)
    with grpc.insecure_channel(server.start()) as channel:
        yield channel
    server.stop(0)


def call(channel: grpc.Channel, path: str, streaming: bool, sent: bytes, metadata: Any = None) -> Any:
    if streaming:
        return list(channel.unary_stream(path)(sent, timeout=10, metadata=metadata or CREDENTIALS.metadata()))
    return channel.unary_unary(path)(sent, timeout=10, metadata=metadata or CREDENTIALS.metadata())


def failure(channel: grpc.Channel, path: str, streaming: bool, sent: bytes, metadata: Any = None) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, path, streaming, sent, metadata)
    return caught.value


@pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])
def test_bytes_that_are_no_message_are_refused_in_one_line(
    channel: grpc.Channel, path: str, method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        error = failure(channel, path, method.server_streaming, NO_MESSAGE)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.details() == f"request: the 3 bytes received are no request of {method.name}"
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.WARNING, None)]


@pytest.mark.parametrize(("path", "method"), METHODS, ids=[path for path, _ in METHODS])
def test_a_call_without_the_secret_is_refused_whatever_it_sends(channel: grpc.Channel, path: str, method: Any) -> None:
    others = InternalCredentials("another secret").metadata()
    error = failure(channel, path, method.server_streaming, NO_MESSAGE, others)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_calls_and_streams_are_answered(channel: grpc.Channel) -> None:
    request = encoder_pb2.EncodeRequest(fingerprint="f").SerializeToString()
    reply = call(channel, "/shoal.internal.v1.EncoderService/Encode", False, request)
    assert encoder_pb2.EncodeResponse.FromString(reply).fingerprint == "f"
    replies = call(channel, "/shoal.internal.v1.CoordinatorService/WatchRouting", True, b"")
    assert [coordinator_pb2.WatchRoutingResponse.FromString(one).revision for one in replies] == [1, 2]


def test_a_call_that_ends_without_a_request_is_refused(channel: grpc.Channel) -> None:
    nothing = channel.stream_unary("/shoal.internal.v1.EncoderService/Encode")
    with pytest.raises(grpc.RpcError) as caught:
        nothing(iter(()), timeout=10, metadata=CREDENTIALS.metadata())
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
