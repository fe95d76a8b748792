"""The order in which texts are tokenized: one range of a request at a time. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shoal.workers.encoding.engine.scheduler import PATIENCE, Priority

# Small enough for the model to start early on a large request, large enough to amortise a call of the tokenizer.
RANGE_TEXTS = 128
RANGE_CHARACTERS = 65_536


class TextRange(NamedTuple):
    """Texts `start` to `stop` (exclusive) of a request."""

    request_id: int
    start: int
    stop: int


@dataclass(slots=True)
class _Untokenized:
    lengths: Sequence[int]
    start: int = 0


class TokenizeQueue:
    """Requests with texts that are not tokenized yet: by priority, and round robin within one priority.

    A priority that was passed over `PATIENCE` times goes next, as in the scheduler.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)
        self._untokenized: dict[int, _Untokenized] = {}
        self._queues: dict[Priority, deque[int]] = {priority: deque() for priority in Priority}

    def __len__(self) -> int:
        """Number of requests with texts to tokenize."""
        return len(self._untokenized)

    def add(self, request_id: int, priority: Priority, lengths: Sequence[int]) -> None:
        """Queues the texts of a request; `lengths` are their characters, at least one entry."""
        self._untokenized[request_id] = _Untokenized(lengths)
        self._queues[priority].append(request_id)

    def drop(self, request_id: int) -> None:
        """Removes a request, if it is queued."""
        self._untokenized.pop(request_id, None)

    def take(self) -> TextRange | None:
        """The texts to tokenize next; None if the queue is empty."""
        waiting = [priority for priority in Priority if self._first(priority) is not None]
        if not waiting:
            return None
        chosen = next((priority for priority in waiting if self._passed_over[priority] >= PATIENCE), waiting[0])
        for priority in waiting:
            self._passed_over[priority] = 0 if priority is chosen else self._passed_over[priority] + 1
        queue = self._queues[chosen]
        request_id = queue.popleft()
        request = self._untokenized[request_id]
        start = request.start
        request.start = _range_end(request.lengths, start)
        if request.start < len(request.lengths):
            queue.append(request_id)
        else:
            del self._untokenized[request_id]
        return TextRange(request_id, start, request.start)

    def _first(self, priority: Priority) -> int | None:
        """The request of a priority that is next in turn; forgets dropped ones before it."""
        queue = self._queues[priority]
        while queue and queue[0] not in self._untokenized:
            queue.popleft()
        return queue[0] if queue else None


def _range_end(lengths: Sequence[int], start: int) -> int:
    stop, characters = start + 1, lengths[start]
    last = min(len(lengths), start + RANGE_TEXTS)
    while stop < last and characters + lengths[stop] <= RANGE_CHARACTERS:
        characters += lengths[stop]
        stop += 1
    return stop
