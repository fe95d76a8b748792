"""An embedding stream around a path whose answers the test holds: times, failures and the end of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from shoal.cluster.errors import DeadlineExceeded, InternalDefect, Unavailable
from shoal.cluster.gateway.paths.embedding import EmbedPath
from shoal.cluster.gateway.paths.room import GatewayMemory, ReceivedMessage, Room
from shoal.cluster.gateway.paths.streams.embed_stream import EmbedStream
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.v1 import embedding_pb2, errors_pb2


class Path:
    """Answers a request depending on the name of its model."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.gate = asyncio.Event()

    async def embed(
        self, request: embedding_pb2.EmbedRequest, deadline: Deadline, room: Room, *, bulk: bool
    ) -> embedding_pb2.EmbedResponse:
        assert bulk
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            match request.model:
                case "slow":
                    try:
                        async with asyncio.timeout_at(deadline.at):
                            await asyncio.Event().wait()
                    except TimeoutError:
                        raise DeadlineExceeded("not in time") from None
                case "lingering":
                    try:
                        await asyncio.Event().wait()
                    finally:
                        await self.gate.wait()
                case "held":
                    await self.gate.wait()
                case "gone":
                    raise Unavailable("no encoder")
                case "defect":
                    raise InternalDefect("does not add up")
                case "ledger":
                    raise LedgerUnreadable("sqlite", "no ledger")
                case "bug":
                    raise KeyError("bug")
            return embedding_pb2.EmbedResponse(fingerprint=request.model)
        finally:
            self.under_way -= 1


MEMORY = GatewayMemory(RequestLimits())


async def requests(*models: str) -> AsyncIterator[ReceivedMessage[embedding_pb2.EmbedStreamRequest]]:
    for number, model in enumerate(models):
        request = embedding_pb2.EmbedStreamRequest(id=number, embed=embedding_pb2.EmbedRequest(model=model))
        yield ReceivedMessage(request, await MEMORY.admit("a caller", request.ByteSize() + 1))


def run(scenario: Callable[[Path, Callable[..., EmbedStream]], Awaitable[None]]) -> None:
    async def within_time() -> None:
        path = Path()

        def stream(window: int = 8, ends: Deadline | None = None, draining: asyncio.Event | None = None) -> EmbedStream:
            return EmbedStream(cast(EmbedPath, path), window, ends, 0.05, draining or asyncio.Event())

        async with asyncio.timeout(5):
            await scenario(path, stream)
        assert path.under_way == 0
        assert MEMORY.requests.budget.held == 0
        # No task of the stream is left.
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(within_time())


def test_each_request_has_its_own_failure() -> None:
    async def scenario(path: Path, stream: Callable[..., EmbedStream]) -> None:
        answers = {one.id: one async for one in stream().answers(requests("slow", "gone", "m", "defect", "ledger"))}
        assert answers[2].embed.fingerprint == "m"
        assert {number: one.error.reason for number, one in answers.items() if number != 2} == {
            0: errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
            1: errors_pb2.ERROR_REASON_UNAVAILABLE,
            3: errors_pb2.ERROR_REASON_INTERNAL,
            4: errors_pb2.ERROR_REASON_UNAVAILABLE,
        }

    run(scenario)


def test_the_window_limits_requests_in_progress() -> None:
    async def scenario(path: Path, stream: Callable[..., EmbedStream]) -> None:
        answers = stream(window=3).answers(requests(*["held"] * 10))
        first = asyncio.ensure_future(anext(answers))
        for _ in range(20):
            await asyncio.sleep(0)
        assert path.under_way == 3
        path.gate.set()
        rest = [(await first).id] + [one.id async for one in answers]
        assert sorted(rest) == list(range(10)) and path.most == 3

    run(scenario)


def test_an_unexpected_error_ends_the_stream() -> None:
    async def scenario(path: Path, stream: Callable[..., EmbedStream]) -> None:
        with pytest.raises(KeyError):
            _ = [one async for one in stream().answers(requests("held", "bug"))]

    run(scenario)


def test_the_streams_deadline_ends_it() -> None:
    async def scenario(path: Path, stream: Callable[..., EmbedStream]) -> None:
        with pytest.raises(TimeoutError):
            _ = [one async for one in stream(ends=Deadline.within(0.02)).answers(requests("held"))]

    run(scenario)


def test_a_drain_lets_requests_in_progress_be_answered() -> None:
    async def scenario(path: Path, stream: Callable[..., EmbedStream]) -> None:
        draining = asyncio.Event()

        async def endless() -> AsyncIterator[ReceivedMessage[embedding_pb2.EmbedStreamRequest]]:
            async for request in requests("held", "m"):
                yield request
            draining.set()
            await asyncio.Event().wait()

        answers = stream(draining=draining).answers(endless())
        assert (await anext(answers)).id == 1
        path.gate.set()
        assert (await anext(answers)).id == 0
        with pytest.raises(Unavailable, match="shutting down"):
            await anext(answers)

    run(scenario)


def test_a_stream_that_is_cancelled_twice_gives_its_bytes_back() -> None:
    async def scenario(path: Path, stream: Callable[..., EmbedStream]) -> None:
        async def read() -> list[int]:
            return [one.id async for one in stream().answers(requests("lingering", "lingering"))]

        reading = asyncio.create_task(read())
        for _ in range(10):
            await asyncio.sleep(0)
        assert path.under_way == 2
        # As when the caller's deadline passes and gRPC cancels the call.
        for _ in range(2):
            reading.cancel()
            await asyncio.sleep(0)
        path.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        for _ in range(10):
            await asyncio.sleep(0)

    run(scenario)
