"""Gathering: which items share a call, and what happens when waiters leave or calls fail. The test holds calls open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from shoal.cluster.rpc.gathering import Gathering


class Receiver:
    """The receiver: every call waits until the test releases it."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], float, asyncio.Future[None]]] = []
        self.cancelled = 0

    async def send(self, items: Sequence[int], deadline: float) -> list[int]:
        gate = asyncio.get_running_loop().create_future()
        self.calls.append((list(items), deadline, gate))
        try:
            await gate
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [10 * item for item in items]

    @property
    def items(self) -> list[list[int]]:
        return [items for items, _, _ in self.calls]

    def release(self, call: int) -> None:
        self.calls[call][2].set_result(None)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(scenario: Callable[[Receiver], Awaitable[None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(5):
            await scenario(Receiver())

    asyncio.run(within_time())


def test_a_lone_item_is_sent_at_once_and_the_rest_gathers() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=10)
        tasks = [asyncio.create_task(gathering.submit(n, float(n))) for n in range(4)]
        await settle()
        assert receiver.items == [[0]]
        receiver.release(0)
        await settle()
        assert receiver.items == [[0], [1, 2, 3]]
        assert receiver.calls[1][1] == 3.0
        receiver.release(1)
        assert await asyncio.gather(*tasks) == [0, 10, 20, 30]
        assert gathering.idle

    run(scenario)


def test_a_call_takes_at_most_max_items() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=2)
        tasks = [asyncio.create_task(gathering.submit(n, 1.0)) for n in range(6)]
        for call in range(4):
            await settle()
            receiver.release(call)
        await asyncio.gather(*tasks)
        assert receiver.items == [[0], [1, 2], [3, 4], [5]]

    run(scenario)


def test_the_limit_bounds_the_calls_in_flight() -> None:
    async def scenario(receiver: Receiver) -> None:
        max_calls = 2
        gathering = Gathering(receiver.send, max_items=10, max_calls=lambda: max_calls)
        tasks = [asyncio.create_task(gathering.submit(n, 1.0)) for n in range(4)]
        await settle()
        assert receiver.items == [[0], [1]]
        receiver.release(1)
        await settle()
        assert receiver.items == [[0], [1], [2, 3]]
        receiver.release(0)
        receiver.release(2)
        assert await asyncio.gather(*tasks) == [0, 10, 20, 30]

    run(scenario)


def test_a_waiter_that_left_is_not_sent() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=10)
        tasks = [asyncio.create_task(gathering.submit(n, 1.0)) for n in range(4)]
        await settle()
        tasks[2].cancel()
        await settle()
        receiver.release(0)
        await settle()
        assert receiver.items == [[0], [1, 3]]
        receiver.release(1)
        assert [await tasks[0], await tasks[1], await tasks[3]] == [0, 10, 30]
        assert tasks[2].cancelled()

    run(scenario)


def test_a_call_without_waiters_is_cancelled_and_the_line_moves_on() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=10)
        first = asyncio.create_task(gathering.submit(0, 1.0))
        await settle()
        pair = [asyncio.create_task(gathering.submit(n, 1.0)) for n in (1, 2)]
        await settle()
        first.cancel()
        await settle()
        assert receiver.cancelled == 1 and receiver.items == [[0], [1, 2]]
        pair[0].cancel()
        await settle()
        assert receiver.cancelled == 1
        receiver.release(1)
        assert await pair[1] == 20
        assert gathering.idle

    run(scenario)


def test_a_call_cancelled_before_its_first_step_blocks_no_other() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=10)
        first = asyncio.create_task(gathering.submit(0, 1.0))
        await asyncio.sleep(0)
        first.cancel()
        await settle()
        second = asyncio.create_task(gathering.submit(1, 1.0))
        await settle()
        receiver.release(len(receiver.calls) - 1)
        assert await second == 10

    run(scenario)


def test_an_exception_reaches_the_waiters_of_its_call_only() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=10)
        tasks = [asyncio.create_task(gathering.submit(n, 1.0)) for n in range(3)]
        await settle()
        receiver.release(0)
        await settle()
        late = asyncio.create_task(gathering.submit(9, 1.0))
        await settle()
        receiver.calls[1][2].set_exception(ConnectionError("gone"))
        await settle()
        receiver.release(2)
        answers = await asyncio.gather(*tasks, late, return_exceptions=True)
        assert answers[0] == 0 and answers[3] == 90
        assert all(isinstance(answer, ConnectionError) for answer in answers[1:3])

    run(scenario)


def test_a_call_that_answers_too_little_fails_its_waiters() -> None:
    async def send(items: Sequence[int], deadline: float) -> list[int]:
        return []

    async def scenario(receiver: Receiver) -> None:
        with pytest.raises(RuntimeError, match="1 items returned 0 answers"):
            await Gathering(send, max_items=10).submit(1, 1.0)

    run(scenario)


def test_a_call_that_is_cancelled_from_below_does_not_leave_waiters_hanging() -> None:
    async def send(items: Sequence[int], deadline: float) -> list[int]:
        raise asyncio.CancelledError

    async def scenario(receiver: Receiver) -> None:
        with pytest.raises(asyncio.CancelledError):
            await Gathering(send, max_items=10).submit(1, 1.0)

    run(scenario)


def test_max_items_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_items"):
        Gathering(Receiver().send, max_items=0)


def test_a_call_has_a_greatest_weight_and_a_heavier_item_goes_alone() -> None:
    async def scenario(receiver: Receiver) -> None:
        gathering = Gathering(receiver.send, max_items=10, weight=lambda item: item, max_weight=10)
        tasks = [asyncio.create_task(gathering.submit(item, 1.0)) for item in (1, 4, 6, 1, 50, 2, 3)]
        for number in range(5):
            await settle()
            receiver.release(number)
        assert receiver.items == [[1], [4, 6], [1], [50], [2, 3]]
        assert await asyncio.gather(*tasks) == [10, 40, 60, 10, 500, 20, 30]

    run(scenario)
