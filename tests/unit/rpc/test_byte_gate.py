"""Waiting for room for a message, on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shoal.cluster.decisions.memory.byte_budget import BudgetLimits
from shoal.cluster.errors import Overloaded
from shoal.cluster.rpc.byte_gate import ByteGate

LIMITS = BudgetLimits(total=100, small=5, small_share=20, waiting=60)


def run(scenario: Callable[[ByteGate], Awaitable[None]]) -> None:
    async def within_time() -> None:
        gate = ByteGate(LIMITS, "requests")
        async with asyncio.timeout(5):
            await scenario(gate)
        assert gate.budget.held == gate.budget.waiting == 0

    asyncio.run(within_time())


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_message_waits_until_another_is_done() -> None:
    async def scenario(gate: ByteGate) -> None:
        first = await gate.admit("a", 60)
        second = asyncio.create_task(gate.admit("b", 60))
        await settle()
        assert not second.done() and gate.budget.waiting == 60
        first.release()
        with await second as held:
            assert held.size == 60 and gate.budget.held == 60
        first.release()

    run(scenario)


def test_a_caller_that_gives_up_leaves_its_place() -> None:
    async def scenario(gate: ByteGate) -> None:
        with await gate.admit("a", 80):
            second = asyncio.create_task(gate.admit("b", 40))
            third = asyncio.create_task(gate.admit("c", 20))
            await settle()
            second.cancel()
            await settle()
            assert gate.budget.waiting == 20
        (await third).release()

    run(scenario)


def test_a_caller_that_gives_up_as_it_is_admitted_gives_its_bytes_back() -> None:
    async def scenario(gate: ByteGate) -> None:
        first = await gate.admit("a", 80)
        second = asyncio.create_task(gate.admit("b", 40))
        await settle()
        first.release()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second

    run(scenario)


def test_a_refusal_names_the_limit_and_what_waits() -> None:
    async def scenario(gate: ByteGate) -> None:
        with await gate.admit("a", 80):
            waiting = [asyncio.create_task(gate.admit("b", 30)) for _ in range(2)]
            await settle()
            with pytest.raises(Overloaded) as caught:
                await gate.admit("c", 7)
            assert caught.value.message == "60 bytes of requests wait, and 7 more would pass the limit of 60"
            assert (caught.value.value, caught.value.limit) == ("7", 60) and caught.value.retry_after_ms > 0
        for one in waiting:
            (await one).release()

    run(scenario)


def test_a_smaller_message_than_expected_lets_the_next_one_in() -> None:
    async def scenario(gate: ByteGate) -> None:
        with await gate.admit("a", 80) as held:
            second = asyncio.create_task(gate.admit("b", 40))
            await settle()
            held.shrink(200)
            assert held.size == 80
            held.shrink(10)
            (await second).release()

    run(scenario)
