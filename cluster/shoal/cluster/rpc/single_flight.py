"""Equal work that is asked for at the same time is done once. What the work is, is passed in."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class _Flight(Generic[Answer]):
    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[Key, Answer]):
    """Work under way, by key. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Answer]] = {}

    def __len__(self) -> int:
        """How many keys are being worked on."""
        return len(self._flights)

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer, or the exception, of the work under way for `key`, which begins now if there is none.

        A waiter that is cancelled leaves the others their answer; the work is cancelled when nobody waits for it any more.
        What comes of it is not kept: who asks later has it done again.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_task(work()))
            flight.task.add_done_callback(lambda _: self._end(key, flight))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Whoever asks from now on must not join work that is about to end without an answer.
                self._end(key, flight)
                flight.task.cancel()

    def _end(self, key: Key, flight: "_Flight[Answer]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            # Every waiter has left by now, or sees it for itself.
            flight.task.exception()
