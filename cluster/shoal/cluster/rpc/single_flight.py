"""Deduplication of concurrent work: callers with the same key share one execution."""

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
    """Work in flight, by key. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Answer]] = {}

    def __len__(self) -> int:
        """The number of keys in flight."""
        return len(self._flights)

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Waits for the work in flight for `key`, or starts it; returns its answer or raises its exception.

        Cancelling one waiter does not affect the others; the work is cancelled when the last waiter leaves. Answers are
        not cached: a later caller starts the work again.
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
                # Later callers must not join work that is about to be cancelled.
                self._end(key, flight)
                flight.task.cancel()

    def _end(self, key: Key, flight: "_Flight[Answer]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            # Marks the exception as retrieved: all waiters have left, or receive it themselves.
            flight.task.exception()
