from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.engine.scheduler import PATIENCE, Priority, QueuedRequest, QueueFull, QueueLimits, Scheduler
from shoal.workers.encoding.engine.window import QueuedText

ROOMY = QueueLimits(tokens=10**9, characters=10**9)
BOUNDS_OF_1024 = BatchBounds(tokens=1024)
COSTS = st.lists(st.integers(1, 500), min_size=1, max_size=24)
REQUESTS = st.lists(st.tuples(st.sampled_from(Priority), COSTS), max_size=12)
BOUNDS = st.builds(BatchBounds, tokens=st.integers(1, 1500), rows=st.integers(1, 40), padded=st.booleans())
THOUSANDS, HUNDREDS = settings(max_examples=1000, deadline=None), settings(max_examples=100, deadline=None)


def request(
    id: int, priority: Priority, costs: Sequence[int], characters: int = 0, deadline: float = math.inf
) -> QueuedRequest:
    return QueuedRequest(id, priority, costs, characters, deadline)


def admitted(scheduler: Scheduler, id: int, priority: Priority, costs: Sequence[int], **others: float) -> None:
    scheduler.admit(QueuedRequest(id, priority, costs, 0, **others))
    scheduler.make_ready(id, 0, costs)


def filled(requests: Sequence[tuple[Priority, Sequence[int]]], bounds: BatchBounds = BOUNDS_OF_1024) -> Scheduler:
    scheduler = Scheduler(ROOMY, bounds)
    for id, (priority, costs) in enumerate(requests):
        admitted(scheduler, id, priority, costs)
    return scheduler


def drained(scheduler: Scheduler, bounds: BatchBounds) -> list[list[QueuedText]]:
    batches = []
    while batch := scheduler.next_batch(bounds):
        batches.append(batch)
    return batches


def cost(batch: Sequence[QueuedText], bounds: BatchBounds) -> int:
    lengths = [item.tokens for item in batch]
    return max(lengths) * len(lengths) if bounds.padded else sum(lengths)


@THOUSANDS
@given(REQUESTS, BOUNDS)
def test_every_item_is_served_exactly_once_within_the_bounds(
    requests: list[tuple[Priority, list[int]]], bounds: BatchBounds
) -> None:
    scheduler = filled(requests, bounds)
    batches = drained(scheduler, bounds)
    served = Counter(item for batch in batches for item in batch)
    assert served == Counter(
        QueuedText(tokens, id, position) for id, (_, costs) in enumerate(requests) for position, tokens in enumerate(costs)
    )
    for batch in batches:
        assert len(batch) <= bounds.rows
        assert cost(batch, bounds) <= bounds.tokens or len(batch) == 1
    assert scheduler.ready == 0
    assert [scheduler.tokens(priority) for priority in Priority] == [0, 0, 0]


@HUNDREDS
@given(REQUESTS, BOUNDS, st.data())
def test_items_that_become_ready_little_by_little_are_served_once(
    requests: list[tuple[Priority, list[int]]], bounds: BatchBounds, data: st.DataObject
) -> None:
    scheduler = Scheduler(ROOMY, BOUNDS_OF_1024)
    # By request, the tokens of each text that waits; the estimate is wrong for every text.
    waiting = {id: {n: cost + 3 for n, cost in enumerate(costs)} for id, (_, costs) in enumerate(requests)}
    for id, (priority, _) in enumerate(requests):
        scheduler.admit(request(id, priority, list(waiting[id].values()), characters=id + 1))
    unread = dict.fromkeys(waiting, 0)
    ready: set[QueuedText] = set()
    served: list[QueuedText] = []
    while unread or ready:
        if unread:
            id = data.draw(st.sampled_from(sorted(unread)))
            costs, start = requests[id][1], unread[id]
            stop = data.draw(st.integers(start + 1, len(costs)))
            # Every fifth text is broken.
            counts = {n: 0 if n % 5 == 4 else costs[n] for n in range(start, stop)}
            scheduler.make_ready(id, start, list(counts.values()))
            for n, tokens in counts.items():
                del waiting[id][n]
                if tokens:
                    waiting[id][n] = tokens
                    ready.add(QueuedText(tokens, id, n))
            unread[id] = stop
            if stop == len(costs):
                del unread[id]
        if not unread or data.draw(st.booleans()):
            batch = scheduler.next_batch(bounds)
            assert ready.issuperset(batch)
            ready.difference_update(batch)
            for text in batch:
                del waiting[text.request_id][text.text_index]
            served += batch
        assert scheduler.ready == len(ready)
        for priority in Priority:
            own = [id for id, (level, _) in enumerate(requests) if level is priority]
            assert scheduler.tokens(priority) == sum(sum(waiting[id].values()) for id in own)
            assert scheduler.characters(priority) == sum(id + 1 for id in own if waiting[id])
    assert sorted(served) == sorted(
        QueuedText(tokens, id, n) for id, (_, costs) in enumerate(requests) for n, tokens in enumerate(costs) if n % 5 != 4
    )


@THOUSANDS
@given(REQUESTS, BOUNDS)
def test_higher_priorities_lead_unless_a_lower_one_was_passed_over(
    requests: list[tuple[Priority, list[int]]], bounds: BatchBounds
) -> None:
    scheduler = filled(requests, bounds)
    waiting = Counter(priority for priority, costs in requests for _ in costs)
    passed_over = dict.fromkeys(Priority, 0)
    for batch in drained(scheduler, bounds):
        present = [priority for priority in Priority if waiting[priority]]
        served = {requests[item.request_id][0] for item in batch}
        patient = [priority for priority in present if passed_over[priority] >= PATIENCE]
        assert requests[batch[0].request_id][0] is (patient or present)[0]
        for priority in present:
            passed_over[priority] = 0 if priority in served else passed_over[priority] + 1
            # With three priorities, two can reach their limit at once.
            assert passed_over[priority] <= PATIENCE + 1
        waiting -= Counter(requests[item.request_id][0] for item in batch)


@HUNDREDS
@given(COSTS, st.integers(10, 50), st.booleans())
def test_endless_queries_leave_documents_a_share(documents: list[int], query: int, padded: bool) -> None:
    bounds = BatchBounds(tokens=600, padded=padded)
    scheduler = filled([(Priority.LIVE, documents)])
    pending, batches = set(range(len(documents))), 0
    while pending:
        for number in range(600 // query):
            admitted(scheduler, 1000 + batches * 1000 + number, Priority.QUERY, [query])
        batches += 1
        pending -= {item.text_index for item in scheduler.next_batch(bounds) if item.request_id == 0}
        assert batches <= (PATIENCE + 1) * (len(documents) + 1)


def test_room_behind_queries_is_filled_a_little_and_behind_documents_fully() -> None:
    scheduler = filled([(Priority.QUERY, [20]), (Priority.LIVE, [30] * 20), (Priority.BACKFILL, [10] * 100)])
    first, second = scheduler.next_batch(BatchBounds(800)), scheduler.next_batch(BatchBounds(800))
    assert [item.tokens for item in first] == [20, 30, 30, 10, 10]
    assert [item.tokens for item in second] == [30] * 18 + [10] * 26


@given(st.lists(st.integers(1, 120), min_size=1, max_size=8), st.integers(500, 3000), st.integers(0, 30), st.booleans())
@HUNDREDS
def test_a_small_request_behind_a_huge_one_is_soon_served(small: list[int], huge: int, taken: int, padded: bool) -> None:
    bounds = BatchBounds(tokens=1024, padded=padded)
    scheduler = filled([(Priority.LIVE, [1 + (position * 37) % 200 for position in range(huge)])])
    for _ in range(taken):
        scheduler.next_batch(bounds)
    admitted(scheduler, 1, Priority.LIVE, small)
    left, batches = len(small), 0
    while left:
        left -= sum(item.request_id == 1 for item in scheduler.next_batch(bounds))
        batches += 1
        # Its first turn is a quarter of a batch; the rest may wait for a window of the huge one, and shares the next.
        assert batches <= (4 if sum(small) <= 256 else 24)


@given(st.integers(100, 600), st.integers(20, 60))
@HUNDREDS
def test_a_huge_request_is_served_behind_endless_small_ones(huge: int, small: int) -> None:
    bounds = BatchBounds(tokens=1024)
    scheduler = filled([(Priority.LIVE, [20] * huge)])
    left, batches = huge, 0
    while left:
        for number in range(1024 // small + 1):
            admitted(scheduler, 1 + batches * 2000 + number, Priority.LIVE, [small])
        left -= sum(item.request_id == 0 for item in scheduler.next_batch(bounds))
        batches += 1
        # Every other batch is its own.
        assert batches <= 2 * (huge * 20 // 1020 + 2)


@given(st.lists(st.integers(50, 100), min_size=1, max_size=3000), st.integers(100, 3000), st.booleans())
@HUNDREDS
def test_no_length_waits_for_longer_than_a_window(lengths: list[int], tokens: int, padded: bool) -> None:
    """An item is served about in its order of arrival, give or take a window of eight batches."""
    bounds = BatchBounds(tokens, rows=10**6, padded=padded)
    scheduler = filled([(Priority.LIVE, lengths)])
    before = [0, *itertools.accumulate(lengths)]
    # A batch is more than half full, and padding at most doubles what is put into it.
    half = tokens / (4 if padded else 2)
    for number, batch in enumerate(drained(scheduler, bounds)):
        for item in batch:
            assert number <= (before[item.text_index] + 8 * tokens + 100) / half + 2


@pytest.mark.parametrize("shortest, longest", [(4, 16), (8, 32), (25, 32)])
def test_of_64_callers_with_one_query_none_waits_longer_than_three_batches(shortest: int, longest: int) -> None:
    """Each asks again as soon as it is answered; a wait begins while a batch is computed, which is counted."""
    bounds = BatchBounds(tokens=1024)
    scheduler = Scheduler(ROOMY, BOUNDS_OF_1024)
    asked: dict[int, int] = {}
    ids = iter(range(10**6))

    def ask(now: int, count: int) -> None:
        for _ in range(count):
            id = next(ids)
            asked[id] = now
            admitted(scheduler, id, Priority.QUERY, [shortest + id * 7 % (longest - shortest + 1)])

    ask(0, 64)
    longest_wait = 0
    computing = scheduler.next_batch(bounds)
    for now in range(1, 200):
        following = scheduler.next_batch(bounds)
        longest_wait = max([longest_wait, *(now - asked.pop(item.request_id) for item in computing)])
        ask(now, len(computing))
        computing = following or scheduler.next_batch(bounds)
    assert longest_wait <= 3


def test_of_64_callers_with_a_backlog_none_waits_longer_than_four_batches() -> None:
    bounds = BatchBounds(tokens=1024)
    scheduler = filled([(Priority.BACKFILL, [100] * 5000)])
    waits: list[int] = []
    for round in range(100):
        for number in range(64):
            admitted(scheduler, 1 + round * 64 + number, Priority.QUERY, [30])
        left, batches = 64, 1
        while left:
            left -= sum(item.request_id > 0 for item in scheduler.next_batch(bounds))
            batches += 1
        waits.append(batches)
    assert max(waits) <= 4
    assert sorted(waits)[len(waits) // 2] == 3


@THOUSANDS
@given(REQUESTS, st.sets(st.integers(0, 11)), BOUNDS, st.integers(0, 8))
def test_dropped_requests_are_not_served_again(
    requests: list[tuple[Priority, list[int]]], dropped: set[int], bounds: BatchBounds, before: int
) -> None:
    scheduler = filled(requests, bounds)
    for _ in range(before):
        scheduler.next_batch(bounds)
    for id in dropped:
        scheduler.drop(id)
    later = {item.request_id for batch in drained(scheduler, bounds) for item in batch}
    assert not later & dropped
    assert [scheduler.tokens(priority) for priority in Priority] == [0, 0, 0]
    assert scheduler.ready == 0


@HUNDREDS
@given(st.lists(st.tuples(st.sampled_from(Priority), COSTS, st.integers(0, 300)), max_size=40))
def test_what_waits_stays_within_the_limits(requests: list[tuple[Priority, list[int], int]]) -> None:
    limits = QueueLimits(tokens=1000, characters=500)
    scheduler = Scheduler(limits, BOUNDS_OF_1024)
    waiting: dict[Priority, list[tuple[int, int]]] = {priority: [] for priority in Priority}
    for id, (priority, costs, characters) in enumerate(requests):
        held = waiting[priority]
        tokens_fit = sum(cost for cost, _ in held) + sum(costs) <= limits.tokens
        characters_fit = sum(size for _, size in held) + characters <= limits.characters
        if held and not (tokens_fit and characters_fit):
            with pytest.raises(QueueFull, match=rf"{priority.value} queue .* limit of"):
                scheduler.admit(request(id, priority, costs, characters))
        else:
            scheduler.admit(request(id, priority, costs, characters))
            held.append((sum(costs), characters))
        assert scheduler.tokens(priority) == sum(cost for cost, _ in held)


def test_a_full_document_queue_still_takes_queries() -> None:
    scheduler = Scheduler(QueueLimits(tokens=100, characters=50), BOUNDS_OF_1024)
    scheduler.admit(request(1, Priority.LIVE, [90], characters=10))
    with pytest.raises(QueueFull, match="live queue holds 90 tokens; 20 more would exceed its limit of 100"):
        scheduler.admit(request(2, Priority.LIVE, [20]))
    with pytest.raises(QueueFull, match="live queue holds 10 characters; 41 more would exceed its limit of 50"):
        scheduler.admit(request(2, Priority.LIVE, [2], characters=41))
    admitted(scheduler, 3, Priority.QUERY, [20])
    assert scheduler.next_batch(BatchBounds(1000)) == [QueuedText(20, 3, 0)]


def test_room_comes_back_as_items_are_served() -> None:
    scheduler = Scheduler(QueueLimits(tokens=100), BOUNDS_OF_1024)
    admitted(scheduler, 1, Priority.LIVE, [40, 40])
    assert scheduler.next_batch(BatchBounds(50)) == [QueuedText(40, 1, 0)]
    scheduler.admit(request(2, Priority.LIVE, [60]))
    assert scheduler.tokens(Priority.LIVE) == 100


def test_expired_requests_are_named_and_gone() -> None:
    scheduler = Scheduler(ROOMY, BOUNDS_OF_1024)
    admitted(scheduler, 1, Priority.LIVE, [10, 10], deadline=5.0)
    admitted(scheduler, 2, Priority.LIVE, [10], deadline=6.0)
    scheduler.next_batch(BatchBounds(10))
    assert scheduler.drop_expired(4.9) == []
    assert scheduler.drop_expired(5.0) == [1]
    assert drained(scheduler, BatchBounds(100)) == [[QueuedText(10, 2, 0)]]
    admitted(scheduler, 3, Priority.QUERY, [10], deadline=7.0)
    assert scheduler.drop_expired(7.0) == [3]


def test_requests_without_items_and_known_ids_are_refused() -> None:
    scheduler = Scheduler(ROOMY, BOUNDS_OF_1024)
    with pytest.raises(ValueError, match="request 1 has no texts"):
        scheduler.admit(request(1, Priority.QUERY, []))
    scheduler.admit(request(1, Priority.QUERY, [1]))
    with pytest.raises(ValueError, match="request 1 is already queued"):
        scheduler.admit(request(1, Priority.LIVE, [1]))


def test_a_batch_holds_texts_of_similar_length() -> None:
    """The purpose of the window: little padding, though long and short texts are mixed."""
    lengths = [1 + (position * 7919) % 256 for position in range(4000)]
    bounds = BatchBounds(tokens=2048, padded=True)
    batches = drained(filled([(Priority.BACKFILL, lengths)]), bounds)
    padded = sum(cost(batch, bounds) for batch in batches)
    assert padded < 1.15 * sum(lengths)


@pytest.mark.parametrize(
    ("threads", "min_tokens", "tokens"),
    [(1, 50, [800]), (4, 0, [800]), (2, 50, [400, 400]), (4, 50, [200] * 4), (8, 300, [300, 300, 200])],
)
def test_ready_texts_are_divided_among_idle_threads(threads: int, min_tokens: int, tokens: list[int]) -> None:
    bounds = BatchBounds(tokens=1024, min_tokens=min_tokens)
    scheduler = filled([(Priority.LIVE, [20] * 40)], bounds)
    batches = []
    # Each thread that takes a batch leaves one fewer idle.
    while batch := scheduler.next_batch(bounds, max(1, threads - len(batches))):
        batches.append(sum(item.tokens for item in batch))
    assert batches == tokens


def test_served_and_dropped_texts_are_not_divided_among_idle_threads() -> None:
    bounds = BatchBounds(tokens=1024, rows=1024, min_tokens=1)
    scheduler = filled([(Priority.LIVE, [1] * 400), (Priority.LIVE, [1] * 700), (Priority.QUERY, [1] * 500)], bounds)
    assert len(scheduler.next_batch(BatchBounds(tokens=100, rows=1024))) == 100
    scheduler.drop(1)
    scheduler.drop(2)
    admitted(scheduler, 3, Priority.LIVE, [1] * (800 - scheduler.ready))
    assert len(scheduler.next_batch(bounds, 4)) == 200


def test_the_first_turn_of_a_request_is_a_quarter_of_a_batch_and_at_least_one_token() -> None:
    def first_batch(bounds: BatchBounds) -> list[int]:
        scheduler = filled([(Priority.LIVE, [1, 1, 1]), (Priority.LIVE, [1])], bounds)
        return [item.request_id for item in scheduler.next_batch(BatchBounds(tokens=2, padded=False))]

    assert first_batch(BatchBounds(tokens=2)) == first_batch(BatchBounds(tokens=7)) == [0, 1]
    assert first_batch(BatchBounds(tokens=8)) == [0, 0]


def test_every_eighth_batch_belongs_to_documents_behind_endless_queries() -> None:
    bounds = BatchBounds(tokens=10)
    scheduler = filled([(Priority.LIVE, [10] * 3)])
    for id in range(1, 100):
        admitted(scheduler, id, Priority.QUERY, [10])
    leaders = [scheduler.next_batch(bounds)[0].request_id for _ in range(24)]
    assert [number for number, id in enumerate(leaders) if id == 0] == [7, 15, 23]


def test_a_backlog_is_not_cut_smaller_for_idle_threads() -> None:
    bounds = BatchBounds(tokens=1000, min_tokens=10)
    scheduler = filled([(Priority.LIVE, [20] * 400)], bounds)
    assert len(scheduler.next_batch(bounds, 8)) == 50
