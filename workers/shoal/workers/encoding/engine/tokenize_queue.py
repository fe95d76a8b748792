"""In which order texts are read by the tokenizer: a piece of one request at a time. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shoal.workers.encoding.engine.scheduler import Priority

# Small enough that a model begins early with a large request, large enough that a call of a tokenizer pays.
CHUNK_TEXTS = 128
CHUNK_CHARACTERS = 65_536


class Chunk(NamedTuple):
    """Texts `start` to `stop` (exclusive) of a request."""

    request: int
    start: int
    stop: int


@dataclass(slots=True)
class _Unread:
    lengths: Sequence[int]
    start: int = 0


class ChunkQueue:
    """Requests with texts that no tokenizer has read: by priority, and in turns within one."""

    def __init__(self) -> None:
        self._unread: dict[int, _Unread] = {}
        self._lines: dict[Priority, deque[int]] = {priority: deque() for priority in Priority}

    def __len__(self) -> int:
        """Requests with unread texts."""
        return len(self._unread)

    def add(self, request_id: int, priority: Priority, lengths: Sequence[int]) -> None:
        """Lets the texts of a request, of these `lengths` in characters (at least one text), wait to be read."""
        self._unread[request_id] = _Unread(lengths)
        self._lines[priority].append(request_id)

    def drop(self, request_id: int) -> None:
        """Forgets a request, if it waits."""
        self._unread.pop(request_id, None)

    def take(self) -> Chunk | None:
        """What to read next; None when all is read."""
        for line in self._lines.values():
            while line:
                request_id = line.popleft()
                unread = self._unread.get(request_id)
                if unread is None:
                    continue
                start = unread.start
                unread.start = _chunk_end(unread.lengths, start)
                if unread.start < len(unread.lengths):
                    line.append(request_id)
                else:
                    del self._unread[request_id]
                return Chunk(request_id, start, unread.start)
        return None


def _chunk_end(lengths: Sequence[int], start: int) -> int:
    stop, characters = start + 1, lengths[start]
    most = min(len(lengths), start + CHUNK_TEXTS)
    while stop < most and characters + lengths[stop] <= CHUNK_CHARACTERS:
        characters += lengths[stop]
        stop += 1
    return stop
