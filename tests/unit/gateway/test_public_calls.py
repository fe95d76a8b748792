"""What every public call has: a deadline, a limit for its reply, counts, and the form of its errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from shoal.cluster.errors import (
    ClusterError,
    CollectionMissing,
    DeadlineExceeded,
    InternalDefect,
    InvalidRequest,
    MessageTooLarge,
)
from shoal.cluster.gateway.backends.counts import GatewayCounts
from shoal.cluster.gateway.paths.public_calls import PublicCalls, as_cluster_error
from shoal.cluster.ledger.errors import CollectionNotFound
from shoal.v1 import search_pb2

METHOD = "/shoal.v1.SearchService/Search"
REPLY = search_pb2.SearchResponse(hits=[search_pb2.Hit(id="a")])
Work = Callable[[], Awaitable[search_pb2.SearchResponse]]


async def reply_at_once() -> search_pb2.SearchResponse:
    return REPLY


async def hang() -> search_pb2.SearchResponse:
    await asyncio.Event().wait()
    raise AssertionError


def outcome(
    work: Work, remaining_s: float | None = 10.0, default_s: float = 10.0, reply_bytes: int = 1000
) -> tuple[search_pb2.SearchResponse | ClusterError, GatewayCounts]:
    """The result of a call of Search, and the counts after it."""
    counts = GatewayCounts()

    async def run() -> search_pb2.SearchResponse | ClusterError:
        calls = PublicCalls(counts, default_s, reply_bytes)
        with calls.begin(METHOD) as call:
            assert counts.in_flight == 1
            try:
                return await call.answer(work, remaining_s)
            except Exception as error:
                return call.fail(error)

    return asyncio.run(run()), counts


def test_an_answer_is_handed_on_and_counted() -> None:
    reply, counts = outcome(reply_at_once)
    assert reply is REPLY
    assert counts.requests == {("Search", "OK"): 1} and counts.seconds["Search"].cumulative()[-1] == 1
    assert counts.in_flight == 0


@pytest.mark.parametrize(("remaining_s", "default_s"), [(0.01, 10.0), (None, 0.01)])
def test_late_work_is_cancelled_at_the_callers_deadline_or_the_default(remaining_s: float | None, default_s: float) -> None:
    error, counts = outcome(hang, remaining_s, default_s)
    assert type(error) is DeadlineExceeded and error.message == "Search did not finish before its deadline"
    assert counts.requests == {("Search", "DEADLINE_EXCEEDED"): 1}


@pytest.mark.parametrize("remaining_s", [0.0, -1.0])
def test_work_whose_deadline_has_passed_does_not_begin(remaining_s: float) -> None:
    began: list[bool] = []

    async def work() -> search_pb2.SearchResponse:
        began.append(True)
        return REPLY

    error, _ = outcome(work, remaining_s)
    assert type(error) is DeadlineExceeded and not began


def test_a_reply_of_the_largest_size_passes_and_a_larger_one_is_refused() -> None:
    size = REPLY.ByteSize()
    assert outcome(reply_at_once, reply_bytes=size)[0] is REPLY
    error, counts = outcome(reply_at_once, reply_bytes=size - 1)
    assert type(error) is MessageTooLarge
    assert error.message == f"the reply has {size} bytes, the limit is {size - 1}; request less at a time"
    assert (error.value, error.limit) == (str(size), size - 1)
    assert counts.requests == {("Search", "RESOURCE_EXHAUSTED"): 1}


def test_a_call_whose_caller_went_away_is_counted_as_cancelled() -> None:
    counts = GatewayCounts()

    async def run() -> None:
        calls = PublicCalls(counts, 10.0, 1000)

        async def call_and_hang() -> None:
            with calls.begin(METHOD) as call:
                await call.answer(hang, None)

        task = asyncio.create_task(call_and_hang())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert counts.requests == {("Search", "CANCELLED"): 1} and counts.in_flight == 0


def test_a_drain_waits_for_the_last_call() -> None:
    async def run() -> None:
        calls = PublicCalls(GatewayCounts(), 10.0, 1000)
        await calls.in_flight.end()
        with calls.begin(METHOD):
            with calls.begin(METHOD):
                ending = asyncio.create_task(calls.in_flight.end())
            for _ in range(3):
                await asyncio.sleep(0)
            assert not ending.done()
        await asyncio.wait_for(ending, 1)

    asyncio.run(run())


def test_expected_errors_keep_their_meaning(caplog: pytest.LogCaptureFixture) -> None:
    refusal = InvalidRequest("k: 0")
    assert as_cluster_error(refusal, METHOD) is refusal
    assert type(as_cluster_error(CollectionNotFound("a"), METHOD)) is CollectionMissing
    late = as_cluster_error(TimeoutError(), METHOD)
    assert type(late) is DeadlineExceeded and late.message == "Search did not finish before its deadline"
    assert not caplog.records


def test_a_defect_is_one_line_for_the_caller_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = as_cluster_error(ValueError("two\nlines"), METHOD)
    assert type(error) is InternalDefect
    assert error.message == "internal error: ValueError: two lines"
    [record] = caplog.records
    assert record.exc_info is not None and METHOD in record.getMessage()
