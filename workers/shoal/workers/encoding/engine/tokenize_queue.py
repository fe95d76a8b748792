"""The order in which texts are tokenized: one range of a request at a time. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shoal.workers.encoding.engine.scheduler import Priority

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
    """Requests with texts that are not tokenized yet: by priority, and round robin within one priority."""

    def __init__(self) -> None:
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
        for queue in self._queues.values():
            while queue:
                request_id = queue.popleft()
                request = self._untokenized.get(request_id)
                if request is None:
                    continue
                start = request.start
                request.start = _range_end(request.lengths, start)
                if request.start < len(request.lengths):
                    queue.append(request_id)
                else:
                    del self._untokenized[request_id]
                return TextRange(request_id, start, request.start)
        return None


def _range_end(lengths: Sequence[int], start: int) -> int:
    stop, characters = start + 1, lengths[start]
    last = min(len(lengths), start + RANGE_TEXTS)
    while stop < last and characters + lengths[stop] <= RANGE_CHARACTERS:
        characters += lengths[stop]
        stop += 1
    return stop
