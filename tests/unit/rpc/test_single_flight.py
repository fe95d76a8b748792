"""Single flight: which waiters share work, and what happens when they leave. The test holds work open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shoal.cluster.rpc.single_flight import SingleFlight


class Work:
    """Each piece of work waits until the test releases it."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def do(self) -> int:
        self.begun += 1
        try:
            return await asyncio.shield(self.gate)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def run(scenario: Callable[[SingleFlight[str, int], Work], Awaitable[None]]) -> None:
    async def within_time() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        async with asyncio.timeout(5):
            await scenario(flights, Work())
        assert len(flights) == 0

    asyncio.run(within_time())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_equal_keys_share_and_others_do_not() -> None:
    async def scenario(flights: SingleFlight[str, int], work: Work) -> None:
        tasks = [asyncio.create_task(flights.join(key, work.do)) for key in "aabab"]
        await settle()
        assert work.begun == 2 == len(flights) and "a" in flights
        work.gate.set_result(7)
        assert await asyncio.gather(*tasks) == [7] * 5

    run(scenario)


def test_an_answer_is_not_kept() -> None:
    async def scenario(flights: SingleFlight[str, int], work: Work) -> None:
        work.gate.set_result(7)
        assert await flights.join("a", work.do) == 7
        assert await flights.join("a", work.do) == 7
        assert work.begun == 2

    run(scenario)


def test_a_waiter_that_leaves_does_not_affect_the_others() -> None:
    async def scenario(flights: SingleFlight[str, int], work: Work) -> None:
        tasks = [asyncio.create_task(flights.join("a", work.do)) for _ in range(3)]
        await settle()
        tasks[0].cancel()
        tasks[2].cancel()
        await settle()
        assert work.cancelled == 0 and not tasks[1].done()
        work.gate.set_result(7)
        assert await tasks[1] == 7

    run(scenario)


def test_the_last_waiter_to_leave_cancels_the_work_and_the_next_starts_again() -> None:
    async def scenario(flights: SingleFlight[str, int], work: Work) -> None:
        tasks = [asyncio.create_task(flights.join("a", work.do)) for _ in range(2)]
        await settle()
        for task in tasks:
            task.cancel()
        # Before the cancelled work has ended, there is a new request.
        await asyncio.sleep(0)
        late = asyncio.create_task(flights.join("a", work.do))
        await settle()
        assert (work.begun, work.cancelled) == (2, 1)
        work.gate.set_result(7)
        assert await late == 7

    run(scenario)


def test_all_waiters_see_a_failure_and_the_next_starts_again() -> None:
    async def scenario(flights: SingleFlight[str, int], work: Work) -> None:
        tasks = [asyncio.create_task(flights.join("a", work.do)) for _ in range(2)]
        await settle()
        work.gate.set_exception(ValueError("no"))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no", "no"]
        with pytest.raises(ValueError, match="no"):
            await flights.join("a", work.do)
        assert work.begun == 2

    run(scenario)
