"""Batching while busy: items that arrive while a call is in flight are sent together in the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Waiter(Generic[Item, Answer]):
    item: Item
    deadline: float
    answer: asyncio.Future[Answer]
    call: "_Call[Item, Answer] | None" = None


@dataclass(slots=True, eq=False)
class _Call(Generic[Item, Answer]):
    waiters: list[_Waiter[Item, Answer]]
    task: asyncio.Task[None] | None = None


class Gathering(Generic[Item, Answer]):
    """Batches items into calls. No timer: a lone item is sent at once, and under load there are few, full calls.

    `send(items, deadline)` returns one answer for each item, in order; `deadline` is the latest one of the items, on the
    event loop's clock. `max_calls()` returns how many calls may be in flight at once. A call has at most `max_items` items
    and, unless it has only one, a total `weight` of at most `max_weight`. All methods belong to one event loop.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item], float], Awaitable[Sequence[Answer]]],
        max_items: int,
        max_calls: Callable[[], int] = lambda: 1,
        weight: Callable[[Item], int] = lambda _: 0,
        max_weight: int = 0,
    ) -> None:
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items}")
        self._send = send
        self._max_items = max_items
        self._max_calls = max_calls
        self._weight = weight
        self._max_weight = max_weight
        self._waiting: deque[_Waiter[Item, Answer]] = deque()
        self._calls: set[_Call[Item, Answer]] = set()

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is in flight."""
        return not self._calls and not any(not waiter.answer.done() for waiter in self._waiting)

    async def submit(self, item: Item, deadline: float) -> Answer:
        """Returns the answer to `item`, or raises the exception of its call.

        A cancelled waiter leaves the queue; a call in flight is cancelled when its last waiter leaves.
        """
        waiter: _Waiter[Item, Answer] = _Waiter(item, deadline, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._launch()
        try:
            return await waiter.answer
        finally:
            # Done already, unless the waiter was cancelled. A failure at the same moment is marked as retrieved.
            if not waiter.answer.cancel() and not waiter.answer.cancelled():
                waiter.answer.exception()
            self._abandon(waiter.call)

    def _abandon(self, call: "_Call[Item, Answer] | None") -> None:
        if call is None or call.task is None or call.task.done():
            return
        if all(waiter.answer.done() for waiter in call.waiters):
            call.task.cancel()

    def _launch(self) -> None:
        while self._waiting and len(self._calls) < max(1, self._max_calls()):
            chosen: list[_Waiter[Item, Answer]] = []
            room = self._max_weight
            while self._waiting and len(chosen) < self._max_items:
                if self._waiting[0].answer.done():
                    self._waiting.popleft()
                    continue
                room -= self._weight(self._waiting[0].item)
                if room < 0 and chosen:
                    break
                chosen.append(self._waiting.popleft())
            if not chosen:
                return
            call = _Call(chosen)
            for waiter in chosen:
                waiter.call = call
            self._calls.add(call)
            call.task = asyncio.get_running_loop().create_task(self._carry(call))
            call.task.add_done_callback(lambda _task, ended=call: self._end(ended))

    def _end(self, call: _Call[Item, Answer]) -> None:
        # A task that is cancelled before its first step never runs its body, so the queue advances from here.
        self._calls.discard(call)
        for waiter in call.waiters:
            waiter.answer.cancel()
        self._launch()

    async def _carry(self, call: _Call[Item, Answer]) -> None:
        try:
            answers = await self._send([waiter.item for waiter in call.waiters], max(w.deadline for w in call.waiters))
            if len(answers) != len(call.waiters):
                raise RuntimeError(f"a call with {len(call.waiters)} items returned {len(answers)} answers")
        except Exception as error:
            for waiter in call.waiters:
                if not waiter.answer.done():
                    waiter.answer.set_exception(error)
            return
        for waiter, answer in zip(call.waiters, answers, strict=True):
            if not waiter.answer.done():
                waiter.answer.set_result(answer)
