import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.model import Role
from shoal.workers.encoding.request_queue import Piece, QueuedRequest, QueueFull, QueueLimits, RequestQueue

ROOMY = QueueLimits(tokens=10**9, characters=10**9)
COSTS = st.lists(st.integers(1, 500), min_size=1, max_size=12)
REQUESTS = st.lists(st.tuples(st.sampled_from(Role), COSTS), max_size=25)


def request(id: int, role: Role, costs: list[int], characters: int = 0, deadline: float = math.inf) -> QueuedRequest:
    return QueuedRequest(id, role, costs, characters, deadline)


def drained(queue: RequestQueue, budget: int) -> list[tuple[Role, list[Piece]]]:
    slices = []
    while taken := queue.take(budget):
        slices.append(taken)
    return slices


@given(REQUESTS, st.integers(1, 1500))
def test_every_item_is_served_once_in_order_queries_first(requests: list[tuple[Role, list[int]]], budget: int) -> None:
    queue = RequestQueue(ROOMY)
    for id, (role, costs) in enumerate(requests):
        queue.add(request(id, role, costs))
    slices = drained(queue, budget)

    roles = [role for role, _ in slices]
    assert roles == sorted(roles, key=lambda role: role is Role.DOCUMENT)
    for role in Role:
        served = [(p.id, item) for r, pieces in slices if r is role for p in pieces for item in range(p.start, p.stop)]
        assert served == [(id, item) for id, (r, costs) in enumerate(requests) if r is role for item in range(len(costs))]
    assert len(queue) == 0
    assert [queue.tokens(role) for role in Role] == [0, 0]


@given(REQUESTS, st.integers(1, 1500))
def test_a_slice_costs_at_most_the_budget_or_is_one_item(requests: list[tuple[Role, list[int]]], budget: int) -> None:
    queue = RequestQueue(ROOMY)
    for id, (role, costs) in enumerate(requests):
        queue.add(request(id, role, costs))
    for _, pieces in drained(queue, budget):
        items = [requests[p.id][1][item] for p in pieces for item in range(p.start, p.stop)]
        assert items
        assert sum(items) <= budget or len(items) == 1


@given(st.lists(COSTS, min_size=1, max_size=10), COSTS, st.integers(0, 10), st.integers(1, 1500))
def test_a_query_waits_for_one_slice_at_most(documents: list[list[int]], query: list[int], taken: int, budget: int) -> None:
    queue = RequestQueue(ROOMY)
    for id, costs in enumerate(documents):
        queue.add(request(id, Role.DOCUMENT, costs))
    for _ in range(taken):
        queue.take(budget)
    queue.add(request(999, Role.QUERY, query))
    following = queue.take(budget)
    assert following is not None
    assert following[0] is Role.QUERY


@given(REQUESTS, st.sets(st.integers(0, 24)), st.integers(1, 1500), st.integers(0, 8))
def test_dropped_requests_are_not_served_again(
    requests: list[tuple[Role, list[int]]], dropped: set[int], budget: int, before: int
) -> None:
    queue = RequestQueue(ROOMY)
    for id, (role, costs) in enumerate(requests):
        queue.add(request(id, role, costs))
    for _ in range(before):
        queue.take(budget)
    for id in dropped:
        queue.drop(id)
    later = {piece.id for _, pieces in drained(queue, budget) for piece in pieces}
    assert not later & dropped
    assert [queue.tokens(role) for role in Role] == [0, 0]


@given(st.lists(st.tuples(st.sampled_from(Role), COSTS, st.integers(0, 300)), max_size=40))
def test_what_waits_stays_within_the_limits(requests: list[tuple[Role, list[int], int]]) -> None:
    limits = QueueLimits(tokens=1000, characters=500)
    queue = RequestQueue(limits)
    waiting: dict[Role, list[tuple[int, int]]] = {role: [] for role in Role}
    for id, (role, costs, characters) in enumerate(requests):
        held = waiting[role]
        tokens_fit = sum(cost for cost, _ in held) + sum(costs) <= limits.tokens
        characters_fit = sum(size for _, size in held) + characters <= limits.characters
        if held and not (tokens_fit and characters_fit):
            with pytest.raises(QueueFull, match=f"{role.value} queue .* limit of"):
                queue.add(request(id, role, costs, characters))
        else:
            queue.add(request(id, role, costs, characters))
            held.append((sum(costs), characters))
        assert queue.tokens(role) == sum(cost for cost, _ in held)


def test_a_full_document_queue_still_takes_queries() -> None:
    queue = RequestQueue(QueueLimits(tokens=100))
    queue.add(request(1, Role.DOCUMENT, [90]))
    with pytest.raises(QueueFull, match="document queue holds 90 tokens; 20 more would pass its limit of 100"):
        queue.add(request(2, Role.DOCUMENT, [20]))
    queue.add(request(3, Role.QUERY, [20]))
    assert queue.take(1000) == (Role.QUERY, [Piece(3, 0, 1)])


def test_room_comes_back_as_slices_are_taken() -> None:
    queue = RequestQueue(QueueLimits(tokens=100))
    queue.add(request(1, Role.DOCUMENT, [40, 40]))
    assert queue.take(50) == (Role.DOCUMENT, [Piece(1, 0, 1)])
    queue.add(request(2, Role.DOCUMENT, [60]))
    assert queue.tokens(Role.DOCUMENT) == 100


def test_expired_requests_are_named_and_gone() -> None:
    queue = RequestQueue(ROOMY)
    queue.add(request(1, Role.DOCUMENT, [10, 10], deadline=5.0))
    queue.add(request(2, Role.DOCUMENT, [10], deadline=6.0))
    queue.take(10)
    assert queue.drop_expired(5.0) == [1]
    assert drained(queue, 100) == [(Role.DOCUMENT, [Piece(2, 0, 1)])]


def test_requests_without_items_and_known_ids_are_refused() -> None:
    queue = RequestQueue(ROOMY)
    with pytest.raises(ValueError, match="request 1 has no items"):
        queue.add(request(1, Role.QUERY, []))
    queue.add(request(1, Role.QUERY, [1]))
    with pytest.raises(ValueError, match="request 1 already waits"):
        queue.add(request(1, Role.DOCUMENT, [1]))
