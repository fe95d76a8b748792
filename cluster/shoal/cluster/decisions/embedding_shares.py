"""Which pending documents are embedded next: a share for every priority. Pure: counts come in, counts go out.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): a document of a priority costs `COSTS` units of virtual time, and
the priority that is behind goes next. So a priority with documents waiting gets at least its share of what is started,
however many documents of other priorities arrive, and a share that is not needed goes to the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal.cluster.decisions.admission import PRIORITY_BACKFILL, PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_REMOVAL, is_live

COSTS = {PRIORITY_REMOVAL: 1, PRIORITY_EDIT: 2, PRIORITY_NEW: 4, PRIORITY_BACKFILL: 8}
"""Each priority gets twice the share of the next: all waiting, 8, 4, 2 and 1 of 15 documents; edits and new documents, 2
and 1 of 3."""


class EmbeddingShares:
    """The state of one generation's sharing. While a priority has documents waiting, it gets of any `n` documents that are
    started at least `n * share - 2`, where its share is its part of the priorities that have documents waiting."""

    def __init__(self) -> None:
        self._clock = 0
        self._ends = dict.fromkeys(COSTS, 0)
        """Virtual time at which the last document of each priority ends."""

    def divide(self, room: int, waiting: Mapping[int, int]) -> dict[int, int]:
        """How many documents of each priority to start, `room` in all, or all that wait; `waiting` counts these."""
        left = {priority: count for priority, count in waiting.items() if count > 0}
        taken = dict.fromkeys(left, 0)
        for _ in range(min(room, sum(left.values()))):
            # A priority that had nothing waiting saves up no time.
            starts = {priority: max(self._clock, self._ends[priority]) for priority in left}
            priority = min(left, key=lambda one: (starts[one], one))
            self._clock = starts[priority]
            self._ends[priority] = self._clock + COSTS[priority]
            taken[priority] += 1
            left[priority] -= 1
            if not left[priority]:
                del left[priority]
        return taken


def room_for(in_flight: Mapping[int, int], window: int, extra: int) -> tuple[int, bool]:
    """How many more documents may be started, and whether only live ones may.

    `in_flight` counts the documents at the encoders by priority, `window` is how many keep the encoders busy. Backfill that
    fills the window must not delay live edits, because the encoder puts these first once it has them: so there is always
    room for `extra` live ones. Live documents that fill the window get no such room: they would keep out all others.
    """
    room = window - sum(in_flight.values())
    if room > 0:
        return room, False
    live = sum(count for priority, count in in_flight.items() if is_live(priority))
    return max(0, extra - live), True
