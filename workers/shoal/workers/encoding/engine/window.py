"""Texts that wait, as a batch takes them: alike lengths together, within the bounds. Pure; who is drawn from, and when,
is the scheduler's."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from shoal.workers.encoding.batching import BatchBounds


class Item(NamedTuple):
    """One text of a request that waits to be computed."""

    tokens: int
    request: int
    place: int
    """Of the text in its request."""


@dataclass(slots=True)
class OpenBatch:
    """A batch that is being put together."""

    bounds: BatchBounds
    items: list[Item] = field(default_factory=list)
    tokens: int = 0
    longest: int = 0

    def reach(self, share: float = 1.0) -> float:
        """The longest text for which there is room, 0 for none, while the batch keeps to `share` of its tokens.

        An empty batch takes any text. A padded one takes none that is longer than what it holds: every row would grow.
        """
        if not self.items:
            return math.inf
        if len(self.items) >= self.bounds.rows:
            return 0
        budget = self.bounds.tokens * share
        if self.bounds.padded:
            return self.longest if (len(self.items) + 1) * self.longest <= budget else 0
        return max(0.0, budget - self.tokens)

    def add(self, item: Item) -> None:
        """Takes an item that is within `reach`."""
        self.items.append(item)
        self.tokens += item.tokens
        self.longest = max(self.longest, item.tokens)


@dataclass(slots=True)
class Window:
    """Items in order of length. It is emptied before it is filled again, so that no odd length is passed over for ever."""

    items: list[Item] = field(default_factory=list)

    def fill(self, items: Iterable[Item]) -> None:
        """Takes items, in order of age, into an empty window."""
        self.items = list(items)
        # Of equal lengths the oldest goes last, and is given first.
        self.items.reverse()
        self.items.sort(key=itemgetter(0))

    def give(self, batch: OpenBatch, wanted: Callable[[Item], bool], share: float = 1.0) -> None:
        """Moves items into `batch`, longest first, as long as one is within its reach; the unwanted are left out.

        Longest first: lack of memory then shows in the first batch, and short texts fill what long ones leave.
        """
        place = len(self.items)
        while place:
            reach = batch.reach(share)
            if self.items[place - 1].tokens > reach:
                place = bisect_right(self.items, (reach, math.inf), 0, place)
                continue
            place -= 1
            item = self.items.pop(place)
            if wanted(item):
                batch.add(item)
