"""How much the windows of the scheduler draw: exactly as many tokens and rows as they hold."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.scheduler import Priority, QueuedRequest, QueueLimits, Scheduler
from shoal.workers.encoding.engine.window import QueuedText


def filled(bounds: BatchBounds, *requests: Sequence[int]) -> Scheduler:
    scheduler = Scheduler(QueueLimits(), bounds)
    for id, costs in enumerate(requests):
        scheduler.admit(QueuedRequest(id, Priority.LIVE, costs, 0))
        scheduler.make_ready(id, 0, costs)
    return scheduler


def lengths(batch: Sequence[QueuedText]) -> list[int]:
    return [item.tokens for item in batch]


@pytest.mark.parametrize(("padded", "batches"), [(False, 1), (True, 2)])
def test_the_opening_window_holds_one_batch_and_two_where_rows_are_padded(padded: bool, batches: int) -> None:
    # A window is served longest first: had it drawn the text of 60 tokens too, that one would lead.
    bounds = BatchBounds(tokens=100, padded=padded)
    assert lengths(filled(bounds, *[[50]] * 2 * batches, [60]).next_batch(bounds)) == [50, 50]
    assert lengths(filled(bounds, *[[50]] * (2 * batches - 1), [60]).next_batch(bounds))[0] == 60


def test_the_opening_window_holds_the_rows_of_a_batch() -> None:
    bounds = BatchBounds(tokens=100, rows=2)
    assert lengths(filled(bounds, [1], [1], [2]).next_batch(bounds)) == [1, 1]
    assert lengths(filled(bounds, [1], [2]).next_batch(bounds)) == [2, 1]


def ring(bounds: BatchBounds, first: int, later: Sequence[int]) -> Scheduler:
    """A scheduler whose only request has had its first turn."""
    scheduler = filled(bounds, [first, *later])
    assert lengths(scheduler.next_batch(bounds)) == [first]
    return scheduler


@pytest.mark.parametrize("cost", [10, 25])
def test_the_ring_window_holds_eight_batches(cost: int) -> None:
    bounds = BatchBounds(tokens=100)
    count = 800 // cost
    assert lengths(ring(bounds, 100, [cost] * count + [26]).next_batch(bounds))[0] == cost
    assert lengths(ring(bounds, 100, [cost] * (count - 1) + [26]).next_batch(bounds))[0] == 26


def test_the_ring_window_holds_the_rows_of_eight_batches() -> None:
    bounds = BatchBounds(tokens=1000, rows=4)
    assert lengths(ring(bounds, 1000, [1] * 32 + [2]).next_batch(bounds)) == [1] * 4
    assert lengths(ring(bounds, 1000, [1] * 31 + [2]).next_batch(bounds)) == [2, 1, 1, 1]


def test_a_first_turn_and_each_further_one_is_a_quarter_of_a_batch() -> None:
    bounds = BatchBounds(tokens=100)
    scheduler = filled(bounds, [25] * 9, [25] * 9)
    # Both first turns, then one text of each in turn.
    assert [(item.request_id, item.text_index) for item in scheduler.next_batch(bounds)] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [(item.request_id, item.text_index) for item in scheduler.next_batch(bounds)] == [(0, 2), (1, 2), (0, 3), (1, 3)]
