"""Which waiting texts an encoder computes next. Pure: no thread, no clock, no text; the engine acts on what is said here.

- Queries lead batches before live edits, and these before backfill; who was passed over for `PATIENCE` batches leads one.
- What a batch has left is filled from lower priorities; one that queries lead only to `QUERY_FILL`, for queries would
  wait while the rest is computed.
- Requests of one priority take turns of a quarter of a batch. The first turn of each stands in the *opening* line, in
  order of arrival; what is left of them is drawn in turns from a *ring*. The lines lead batches alternately, so that a
  small request never waits for a huge one to end, nor a huge one for a stream of small ones.
- Each line is served through a window ordered by length, which is emptied before the next is drawn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.window import Item, OpenBatch, Window

PATIENCE = 7
QUERY_FILL = 1 / 8
_TURNS_PER_BATCH = 4
# In batches. Where nothing is padded, small requests gain more by the order of arrival than the model by that of length.
_RING_WINDOW, _OPENING_WINDOW, _FLAT_OPENING_WINDOW = 8, 2, 1


class Priority(Enum):
    """What is served first, in this order."""

    QUERY = "query"
    LIVE = "live"
    BACKFILL = "backfill"


class QueueFull(Exception):
    """The queue holds as much as it may; the message names what is full and the limit."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait, for each priority apart, so that a backlog of documents never turns a query away."""

    tokens: int = 131_072
    characters: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """One call that waits."""

    id: int
    """Never used twice."""
    priority: Priority
    costs: Sequence[int]
    """Tokens of each item, estimated."""
    characters: int
    deadline: float = math.inf
    """Time, on the clock of `drop_expired`, after which nobody waits for the answer."""


def _turn(bounds: BatchBounds) -> int:
    return max(1, bounds.tokens // _TURNS_PER_BATCH)


@dataclass(slots=True)
class _Waiting:
    request: QueuedRequest
    costs: list[int]
    """Tokens of each item: estimated until it is ready."""
    tokens: int
    """Of the items that were not served."""
    unserved: int
    ready: int = 0
    ready_tokens: int = 0
    opened: int = 0
    """Tokens of its first turn."""
    later: deque[Item] = field(default_factory=deque)
    """What is ready beyond its first turn and was not drawn."""


@dataclass(slots=True)
class _Level:
    """The requests of one priority."""

    requests: dict[int, _Waiting] = field(default_factory=dict)
    tokens: int = 0
    characters: int = 0
    ready: int = 0
    """Items that can be served now."""
    ready_tokens: int = 0
    passed_over: int = 0
    """Batches since one of its items was served while some were ready."""
    opening: deque[Item] = field(default_factory=deque)
    ring: deque[_Waiting] = field(default_factory=deque)
    """Requests with `later` items, the next in turn first."""
    opening_window: Window = field(default_factory=Window)
    ring_window: Window = field(default_factory=Window)
    ring_leads: bool = False

    def make_ready(self, waiting: _Waiting, place: int, count: int, turn: int) -> None:
        self._count(waiting, count - waiting.costs[place])
        waiting.costs[place] = count
        if not count:
            waiting.unserved -= 1
            return
        self._count_ready(waiting, 1, count)
        item = Item(count, waiting.request.id, place)
        if waiting.opened < turn:
            waiting.opened += count
            self.opening.append(item)
        else:
            if not waiting.later:
                self.ring.append(waiting)
            waiting.later.append(item)

    def serve(self, item: Item) -> bool:
        """Counts an item as served; False if its request was dropped."""
        waiting = self.requests.get(item.request)
        if waiting is None:
            return False
        self._count(waiting, -item.tokens)
        self._count_ready(waiting, -1, -item.tokens)
        waiting.unserved -= 1
        if not waiting.unserved:
            self.forget(waiting)
        return True

    def forget(self, waiting: _Waiting) -> None:
        """Items in lines and windows are left out when their turn comes."""
        del self.requests[waiting.request.id]
        self.tokens -= waiting.tokens
        self.characters -= waiting.request.characters
        self._count_ready(waiting, -waiting.ready, -waiting.ready_tokens)
        waiting.later.clear()

    def _count(self, waiting: _Waiting, tokens: int) -> None:
        waiting.tokens += tokens
        self.tokens += tokens

    def _count_ready(self, waiting: _Waiting, items: int, tokens: int) -> None:
        waiting.ready += items
        waiting.ready_tokens += tokens
        self.ready += items
        self.ready_tokens += tokens

    def give(self, batch: OpenBatch, share: float = 1.0) -> None:
        if self.ring_leads:
            self._give_ring(batch, share)
            self._give_opening(batch, share)
        else:
            self._give_opening(batch, share)
            self._give_ring(batch, share)

    def lead(self, batch: OpenBatch) -> None:
        """Begins an empty batch; the line that did leads the next one only if the other has nothing."""
        ring_led = self.ring_leads
        if ring_led:
            self._give_ring(batch, 1.0)
        else:
            self._give_opening(batch, 1.0)
        self.ring_leads = ring_led != bool(batch.items)
        self.give(batch)

    def _give_opening(self, batch: OpenBatch, share: float) -> None:
        batches = _OPENING_WINDOW if batch.bounds.padded else _FLAT_OPENING_WINDOW
        while batch.reach(share) and (self.opening_window.items or self.opening):
            if not self.opening_window.items:
                self.opening_window.fill(self._drawn_from_opening(batches, batch.bounds))
            self.opening_window.give(batch, self.serve, share)
            if self.opening_window.items:
                return

    def _give_ring(self, batch: OpenBatch, share: float) -> None:
        while batch.reach(share) and (self.ring_window.items or self.ring):
            if not self.ring_window.items:
                self.ring_window.fill(self._drawn_from_ring(_RING_WINDOW, batch.bounds))
            self.ring_window.give(batch, self.serve, share)
            if self.ring_window.items:
                return

    def _drawn_from_opening(self, batches: int, bounds: BatchBounds) -> list[Item]:
        drawn: list[Item] = []
        tokens, rows = batches * bounds.tokens, batches * bounds.rows
        while self.opening and tokens > 0 and len(drawn) < rows:
            item = self.opening.popleft()
            if item.request in self.requests:
                drawn.append(item)
                tokens -= item.tokens
        return drawn

    def _drawn_from_ring(self, batches: int, bounds: BatchBounds) -> list[Item]:
        drawn: list[Item] = []
        tokens, rows = batches * bounds.tokens, batches * bounds.rows
        while self.ring and tokens > 0 and len(drawn) < rows:
            waiting = self.ring.popleft()
            turn = _turn(bounds)
            while waiting.later and turn > 0 and tokens > 0 and len(drawn) < rows:
                item = waiting.later.popleft()
                drawn.append(item)
                turn -= item.tokens
                tokens -= item.tokens
            if waiting.later:
                self.ring.append(waiting)
        return drawn


class Scheduler:
    """Takes requests in, gives batches out."""

    def __init__(self, limits: QueueLimits, bounds: BatchBounds) -> None:
        """`bounds` hold until `next_batch` tells others."""
        self._limits = limits
        self._levels = {priority: _Level() for priority in Priority}
        self._turn = _turn(bounds)
        self._earliest = math.inf

    @property
    def ready(self) -> int:
        """Items that can be served now."""
        return sum(level.ready for level in self._levels.values())

    def tokens(self, priority: Priority) -> int:
        """Tokens of `priority` that wait; of items that are not ready an estimate."""
        return self._levels[priority].tokens

    def characters(self, priority: Priority) -> int:
        """Characters of the requests of `priority` that wait, each counted until its last item is served."""
        return self._levels[priority].characters

    def admit(self, request: QueuedRequest) -> None:
        """Lets a request in; its items are served once they are ready.

        Raises QueueFull, and ValueError when there are no items or the id waits already.
        """
        if not request.costs:
            raise ValueError(f"request {request.id} has no items")
        if self._find(request.id) is not None:
            raise ValueError(f"request {request.id} already waits")
        level = self._levels[request.priority]
        cost = sum(request.costs)
        # A request above a limit must be served too, so an idle queue takes anything.
        if level.requests:
            for what, used, more, limit in (
                ("tokens", level.tokens, cost, self._limits.tokens),
                ("characters", level.characters, request.characters, self._limits.characters),
            ):
                if used + more > limit:
                    name = request.priority.value
                    raise QueueFull(f"{name} queue holds {used} {what}; {more} more would pass its limit of {limit}")
        level.requests[request.id] = _Waiting(request, list(request.costs), cost, len(request.costs))
        level.tokens += cost
        level.characters += request.characters
        self._earliest = min(self._earliest, request.deadline)

    def make_ready(self, request_id: int, start: int, counts: Sequence[int]) -> None:
        """Says how many tokens the items from place `start` on have; 0 for one that is not to be served.

        Each item is made ready once. What is said of a request that was dropped is ignored.
        """
        found = self._find(request_id)
        if found is None:
            return
        level, waiting = found
        for place, count in enumerate(counts, start):
            level.make_ready(waiting, place, count, self._turn)
        if not waiting.unserved:
            level.forget(waiting)

    def drop(self, request_id: int) -> bool:
        """Forgets a cancelled request; False when nothing of it waits."""
        found = self._find(request_id)
        if found is None:
            return False
        level, waiting = found
        level.forget(waiting)
        return True

    def drop_expired(self, now: float) -> list[int]:
        """Forgets each request of which something waits and whose deadline is not after `now`; returns their ids."""
        if now < self._earliest:
            return []
        deadlines = {id: w.request.deadline for level in self._levels.values() for id, w in level.requests.items()}
        expired = [request_id for request_id, deadline in deadlines.items() if deadline <= now]
        for request_id in expired:
            self.drop(request_id)
        self._earliest = min((deadline for deadline in deadlines.values() if deadline > now), default=math.inf)
        return expired

    def next_batch(self, bounds: BatchBounds, lanes: int = 1) -> list[Item]:
        """What to compute next, within `bounds`; empty when nothing is ready. An item that alone costs more stands alone.

        `lanes` is how many are idle, the one that asks included; what is ready is divided among them if `bounds` say so.
        """
        self._turn = _turn(bounds)
        waiting = [level for level in self._levels.values() if level.ready]
        if not waiting:
            return []
        bounds = bounds.divided(sum(level.ready_tokens for level in waiting), lanes)
        leader = next((level for level in waiting if level.passed_over >= PATIENCE), waiting[0])
        share = QUERY_FILL if leader is self._levels[Priority.QUERY] else 1.0
        batch = OpenBatch(bounds)
        leader.lead(batch)
        leader.passed_over = 0
        for level in waiting:
            if level is not leader:
                before = len(batch.items)
                level.give(batch, share)
                level.passed_over = 0 if len(batch.items) > before else level.passed_over + 1
        return batch.items

    def _find(self, request_id: int) -> tuple[_Level, _Waiting] | None:
        for level in self._levels.values():
            if (waiting := level.requests.get(request_id)) is not None:
                return level, waiting
        return None
