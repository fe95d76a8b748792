"""Waiting texts ordered by length, and the batch that takes them. Pure.

Texts of similar length go together, within the bounds of a batch. The scheduler decides which requests are drawn from.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from shoal.workers.encoding.batching import BatchBounds


class QueuedText(NamedTuple):
    """One tokenized text of a request, waiting to be computed."""

    tokens: int
    request_id: int
    text_index: int
    """Index of the text in its request."""


@dataclass(slots=True)
class BatchBuilder:
    """A batch that is being filled."""

    bounds: BatchBounds
    texts: list[QueuedText] = field(default_factory=list)
    tokens: int = 0
    longest: int = 0

    def room(self, share: float = 1.0) -> float:
        """Tokens of the longest text that still fits while the batch keeps to `share` of its tokens; 0 when it is full.

        An empty batch takes any text. A padded batch takes none longer than its longest: every row would grow.
        """
        if not self.texts:
            return math.inf
        if len(self.texts) >= self.bounds.rows:
            return 0
        budget = self.bounds.tokens * share
        if self.bounds.padded:
            return self.longest if (len(self.texts) + 1) * self.longest <= budget else 0
        return max(0.0, budget - self.tokens)

    def add(self, text: QueuedText) -> None:
        """Adds a text that fits `room`."""
        self.texts.append(text)
        self.tokens += text.tokens
        self.longest = max(self.longest, text.tokens)


@dataclass(slots=True)
class Window:
    """Texts ordered by length. A window is emptied before it is filled again, so no text is passed over forever."""

    texts: list[QueuedText] = field(default_factory=list)

    def fill(self, texts: Iterable[QueuedText]) -> None:
        """Fills an empty window with texts, given oldest first."""
        self.texts = list(texts)
        # Of equal lengths the oldest goes last, and is given first.
        self.texts.reverse()
        self.texts.sort(key=itemgetter(0))

    def give(self, batch: BatchBuilder, wanted: Callable[[QueuedText], bool], share: float = 1.0) -> None:
        """Moves texts into `batch`, longest first, while one fits; those that are not `wanted` are dropped.

        Longest first: a lack of memory then shows in the first batch, and short texts fill the gaps that long ones leave.
        """
        index = len(self.texts)
        while index:
            room = batch.room(share)
            if self.texts[index - 1].tokens > room:
                index = bisect_right(self.texts, (room, math.inf), 0, index)
                continue
            index -= 1
            text = self.texts.pop(index)
            if wanted(text):
                batch.add(text)
