"""Decides which waiting texts an encoder computes next. Pure: no threads, no clock, no text content.

- Queries lead batches before live edits, and these before backfill. A priority that was passed over for `PATIENCE`
  batches leads the next one.
- Free room in a batch is filled from lower priorities. Behind queries only up to `QUERY_FILL`, because the queries would
  wait while the rest is computed.
- Requests of one priority take turns of a quarter of a batch. The first turn of each request goes to the *opening* queue,
  in order of arrival; the rest is drawn in turns from a *ring* of requests. Opening queue and ring lead batches
  alternately, so a small request never waits for a huge one to end, nor a huge one for a stream of small ones.
- Both are served through a window ordered by length, which is emptied before the next texts are drawn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.window import BatchBuilder, QueuedText, Window

PATIENCE = 7
QUERY_FILL = 1 / 8
_TURNS_PER_BATCH = 4
# In batches. Without padding, small requests gain more from the order of arrival than the model gains from that of length.
_RING_WINDOW, _PADDED_OPENING_WINDOW, _UNPADDED_OPENING_WINDOW = 8, 2, 1


class Priority(Enum):
    """What is served first, in this order."""

    QUERY = "query"
    LIVE = "live"
    BACKFILL = "backfill"


class QueueFull(Exception):
    """The queue has no room; the message names the limit and how much is queued."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait, per priority: a backlog of documents never turns a query away."""

    tokens: int = 131_072
    characters: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueuedRequest:
    """One request as it is admitted."""

    id: int
    """Never used twice."""
    priority: Priority
    costs: Sequence[int]
    """Estimated tokens of each text."""
    characters: int
    deadline: float = math.inf
    """Time, on the clock of `drop_expired`, after which the answer is no longer wanted."""


def _turn(bounds: BatchBounds) -> int:
    return max(1, bounds.tokens // _TURNS_PER_BATCH)


@dataclass(slots=True)
class _Waiting:
    request: QueuedRequest
    costs: list[int]
    """Tokens of each text: estimated until the text is ready."""
    tokens: int
    """Of the texts that are not served yet."""
    unserved: int
    ready: int = 0
    ready_tokens: int = 0
    opened: int = 0
    """Tokens of its first turn."""
    later: deque[QueuedText] = field(default_factory=deque)
    """Ready texts beyond its first turn that are not drawn yet."""


@dataclass(slots=True)
class _Level:
    """The requests of one priority."""

    requests: dict[int, _Waiting] = field(default_factory=dict)
    tokens: int = 0
    characters: int = 0
    ready: int = 0
    """Texts that can be served now."""
    ready_tokens: int = 0
    passed_over: int = 0
    """Batches since one of its texts was served while some were ready."""
    opening: deque[QueuedText] = field(default_factory=deque)
    ring: deque[_Waiting] = field(default_factory=deque)
    """Requests with `later` texts, the next in turn first."""
    opening_window: Window = field(default_factory=Window)
    ring_window: Window = field(default_factory=Window)
    ring_leads: bool = False

    def make_ready(self, waiting: _Waiting, index: int, count: int, turn: int) -> None:
        self._count(waiting, count - waiting.costs[index])
        waiting.costs[index] = count
        if not count:
            waiting.unserved -= 1
            return
        self._count_ready(waiting, 1, count)
        text = QueuedText(count, waiting.request.id, index)
        if waiting.opened < turn:
            waiting.opened += count
            self.opening.append(text)
        else:
            if not waiting.later:
                self.ring.append(waiting)
            waiting.later.append(text)

    def serve(self, text: QueuedText) -> bool:
        """Counts a text as served; False if its request was dropped."""
        waiting = self.requests.get(text.request_id)
        if waiting is None:
            return False
        self._count(waiting, -text.tokens)
        self._count_ready(waiting, -1, -text.tokens)
        waiting.unserved -= 1
        if not waiting.unserved:
            self.forget(waiting)
        return True

    def forget(self, waiting: _Waiting) -> None:
        """Removes a request. Its texts in queues and windows are skipped when their turn comes."""
        del self.requests[waiting.request.id]
        self.tokens -= waiting.tokens
        self.characters -= waiting.request.characters
        self._count_ready(waiting, -waiting.ready, -waiting.ready_tokens)
        waiting.later.clear()

    def _count(self, waiting: _Waiting, tokens: int) -> None:
        waiting.tokens += tokens
        self.tokens += tokens

    def _count_ready(self, waiting: _Waiting, texts: int, tokens: int) -> None:
        waiting.ready += texts
        waiting.ready_tokens += tokens
        self.ready += texts
        self.ready_tokens += tokens

    def give(self, batch: BatchBuilder, share: float = 1.0) -> None:
        if self.ring_leads:
            self._give_ring(batch, share)
            self._give_opening(batch, share)
        else:
            self._give_opening(batch, share)
            self._give_ring(batch, share)

    def lead(self, batch: BatchBuilder) -> None:
        """Fills an empty batch. Opening queue and ring take turns to lead, unless only one of them has texts."""
        ring_led = self.ring_leads
        if ring_led:
            self._give_ring(batch, 1.0)
        else:
            self._give_opening(batch, 1.0)
        self.ring_leads = ring_led != bool(batch.texts)
        self.give(batch)

    def _give_opening(self, batch: BatchBuilder, share: float) -> None:
        batches = _PADDED_OPENING_WINDOW if batch.bounds.padded else _UNPADDED_OPENING_WINDOW
        while batch.room(share) and (self.opening_window.texts or self.opening):
            if not self.opening_window.texts:
                self.opening_window.fill(self._drawn_from_opening(batches, batch.bounds))
            self.opening_window.give(batch, self.serve, share)
            if self.opening_window.texts:
                return

    def _give_ring(self, batch: BatchBuilder, share: float) -> None:
        while batch.room(share) and (self.ring_window.texts or self.ring):
            if not self.ring_window.texts:
                self.ring_window.fill(self._drawn_from_ring(_RING_WINDOW, batch.bounds))
            self.ring_window.give(batch, self.serve, share)
            if self.ring_window.texts:
                return

    def _drawn_from_opening(self, batches: int, bounds: BatchBounds) -> list[QueuedText]:
        drawn: list[QueuedText] = []
        tokens, rows = batches * bounds.tokens, batches * bounds.rows
        while self.opening and tokens > 0 and len(drawn) < rows:
            text = self.opening.popleft()
            if text.request_id in self.requests:
                drawn.append(text)
                tokens -= text.tokens
        return drawn

    def _drawn_from_ring(self, batches: int, bounds: BatchBounds) -> list[QueuedText]:
        drawn: list[QueuedText] = []
        tokens, rows = batches * bounds.tokens, batches * bounds.rows
        while self.ring and tokens > 0 and len(drawn) < rows:
            waiting = self.ring.popleft()
            turn = _turn(bounds)
            while waiting.later and turn > 0 and tokens > 0 and len(drawn) < rows:
                text = waiting.later.popleft()
                drawn.append(text)
                turn -= text.tokens
                tokens -= text.tokens
            if waiting.later:
                self.ring.append(waiting)
        return drawn


class Scheduler:
    """Takes requests in, gives batches out."""

    def __init__(self, limits: QueueLimits, bounds: BatchBounds) -> None:
        """`bounds` apply until `next_batch` is called with others."""
        self._limits = limits
        self._levels = {priority: _Level() for priority in Priority}
        self._turn = _turn(bounds)
        self._earliest = math.inf

    @property
    def ready(self) -> int:
        """Texts that can be served now."""
        return sum(level.ready for level in self._levels.values())

    def tokens(self, priority: Priority) -> int:
        """Tokens of `priority` that wait; estimated for texts that are not ready."""
        return self._levels[priority].tokens

    def characters(self, priority: Priority) -> int:
        """Characters of the waiting requests of `priority`, each counted until its last text is served."""
        return self._levels[priority].characters

    def admit(self, request: QueuedRequest) -> None:
        """Queues a request; its texts are served once they are ready.

        Raises QueueFull, and ValueError when there are no texts or the id is already queued.
        """
        if not request.costs:
            raise ValueError(f"request {request.id} has no texts")
        if self._find(request.id) is not None:
            raise ValueError(f"request {request.id} is already queued")
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
                    raise QueueFull(f"{name} queue holds {used} {what}; {more} more would exceed its limit of {limit}")
        level.requests[request.id] = _Waiting(request, list(request.costs), cost, len(request.costs))
        level.tokens += cost
        level.characters += request.characters
        self._earliest = min(self._earliest, request.deadline)

    def make_ready(self, request_id: int, start: int, counts: Sequence[int]) -> None:
        """Sets the token counts of the texts from index `start` on, which makes them ready; 0 for a text not to serve.

        Each text is made ready once. A request that was dropped is ignored.
        """
        found = self._find(request_id)
        if found is None:
            return
        level, waiting = found
        for index, count in enumerate(counts, start):
            level.make_ready(waiting, index, count, self._turn)
        if not waiting.unserved:
            level.forget(waiting)

    def drop(self, request_id: int) -> bool:
        """Removes a cancelled request; False when nothing of it waits."""
        found = self._find(request_id)
        if found is None:
            return False
        level, waiting = found
        level.forget(waiting)
        return True

    def drop_expired(self, now: float) -> list[int]:
        """Removes each waiting request whose deadline is not after `now`; returns their ids."""
        if now < self._earliest:
            return []
        deadlines = {id: w.request.deadline for level in self._levels.values() for id, w in level.requests.items()}
        expired = [request_id for request_id, deadline in deadlines.items() if deadline <= now]
        for request_id in expired:
            self.drop(request_id)
        self._earliest = min((deadline for deadline in deadlines.values() if deadline > now), default=math.inf)
        return expired

    def next_batch(self, bounds: BatchBounds, idle_threads: int = 1) -> list[QueuedText]:
        """What to compute next, within `bounds`; empty when nothing is ready. A text that alone exceeds them stands alone.

        `idle_threads` counts the idle inference threads, the calling one included; ready texts are divided among them if
        `bounds` say so.
        """
        self._turn = _turn(bounds)
        waiting = [level for level in self._levels.values() if level.ready]
        if not waiting:
            return []
        bounds = bounds.divided(sum(level.ready_tokens for level in waiting), idle_threads)
        leader = next((level for level in waiting if level.passed_over >= PATIENCE), waiting[0])
        share = QUERY_FILL if leader is self._levels[Priority.QUERY] else 1.0
        batch = BatchBuilder(bounds)
        leader.lead(batch)
        leader.passed_over = 0
        for level in waiting:
            if level is not leader:
                before = len(batch.texts)
                level.give(batch, share)
                level.passed_over = 0 if len(batch.texts) > before else level.passed_over + 1
        return batch.texts

    def _find(self, request_id: int) -> tuple[_Level, _Waiting] | None:
        for level in self._levels.values():
            if (waiting := level.requests.get(request_id)) is not None:
                return level, waiting
        return None
