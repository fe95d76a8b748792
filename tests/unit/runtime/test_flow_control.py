"""What a fast caller sends is received only as fast as it is read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from shoal.workers.runtime import LoopThread, flow_control_options
from shoal.workers.runtime.serving import UNREAD_BYTES

MESSAGE = b"x" * 1_000_000
READ = 60
"""Messages after which gRPC's own limit would be about 90 MB."""


async def read_some(_requests: Any, context: Any) -> AsyncIterator[bytes]:
    for _ in range(READ):
        await context.read()
    await asyncio.Event().wait()
    yield b""


class ReadSome(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(read_some)


def test_messages_that_nobody_reads_stay_with_the_caller() -> None:
    loop = LoopThread("flow control")
    loop.start()
    sent = 0

    def messages() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(4 * READ):
            sent += 1
            yield MESSAGE

    async def serve() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(options=flow_control_options())
        server.add_generic_rpc_handlers((ReadSome(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = loop.run(serve(), 10)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.stream_stream("/test/Read")(messages())
        before, pause = -1, threading.Event()
        while sent < READ or sent != before:
            before = sent
            pause.wait(0.3)
        stream.cancel()
    loop.run(server.stop(0), 10)
    # One more is on its way from the caller, and one is being cut into frames.
    assert (sent - READ) * len(MESSAGE) <= UNREAD_BYTES + 2 * len(MESSAGE)
