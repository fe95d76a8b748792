"""Waiting for a turn at an encoder replica: it comes when a replica is ready or free, and ends however the call ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal.cluster.coordinator.concurrency.changes import Changes
from shoal.cluster.coordinator.embedding.turns import EncoderTurns
from shoal.cluster.coordinator.fleet.fleet import Member
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.decisions.processes.liveness import begin

WITHIN_S = 5.0


class Replicas:
    """The replicas of one model, and the calls that are in flight at them."""

    def __init__(self, *names: str) -> None:
        self.changes = Changes()
        self.turns = EncoderTurns(self.changes)
        self.ready = [SupervisedProcess(Member(name, "encoder", "m"), begin(True, 0.0).liveness) for name in names]
        self.calls: list[tuple[str, bool]] = []

    async def call(self, ends: asyncio.Event, alone: bool = False) -> None:
        async with self.turns.acquire(lambda: self.ready, 1, alone) as replica:
            call = (replica.member.name, alone)
            self.calls.append(call)
            try:
                await ends.wait()
            finally:
                self.calls.remove(call)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(WITHIN_S):
            await scenario()

    asyncio.run(limited())


async def settle() -> None:
    """Runs every task as far as possible."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_call_waits_until_a_replica_is_ready() -> None:
    async def scenario() -> None:
        replicas, ends = Replicas("a"), asyncio.Event()
        ready, replicas.ready = replicas.ready, []
        call = asyncio.create_task(replicas.call(ends))
        await settle()
        assert replicas.calls == []
        replicas.ready = ready
        replicas.changes.announce()
        await settle()
        assert replicas.calls == [("a", False)]
        ends.set()
        await call

    run(scenario)


@pytest.mark.parametrize("end", ["answer", "cancellation"])
def test_a_suspected_batch_runs_alone_and_the_others_after_it(end: str) -> None:
    async def scenario() -> None:
        replicas, first_ends, ends = Replicas("a"), asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(replicas.call(first_ends))
        await settle()
        suspected = asyncio.create_task(replicas.call(ends, alone=True))
        others = [asyncio.create_task(replicas.call(ends)) for _ in range(3)]
        await settle()
        assert replicas.calls == [("a", False)]
        first_ends.set()
        await settle()
        assert first.done() and replicas.calls == [("a", True)]
        if end == "answer":
            ends.set()
        else:
            suspected.cancel()
            await settle()
            assert replicas.calls == [("a", False)] * 3
            ends.set()
        await asyncio.gather(suspected, *others, return_exceptions=True)
        assert replicas.calls == []

    run(scenario)


def test_a_suspected_batch_that_stops_waiting_frees_the_replica() -> None:
    async def scenario() -> None:
        replicas, ends = Replicas("a"), asyncio.Event()
        first = asyncio.create_task(replicas.call(ends))
        await settle()
        suspected = asyncio.create_task(replicas.call(ends, alone=True))
        await settle()
        other = asyncio.create_task(replicas.call(ends))
        await settle()
        assert replicas.calls == [("a", False)]
        suspected.cancel()
        await settle()
        assert replicas.calls == [("a", False)] * 2
        ends.set()
        await asyncio.gather(first, other)

    run(scenario)


def test_a_change_between_the_check_and_the_wait_is_not_missed() -> None:
    async def scenario() -> None:
        changes, checks = Changes(), 0

        def holds() -> bool:
            nonlocal checks
            checks += 1
            if checks == 1:
                changes.announce()
            return checks == 2

        await changes.wait_until(holds)
        assert checks == 2

    run(scenario)
