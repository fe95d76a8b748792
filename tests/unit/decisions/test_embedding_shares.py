"""The shares of removals, edits, new documents and repairs, under any arrivals."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.admission import PRIORITIES, PRIORITY_BACKFILL, PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_REMOVAL
from shoal.cluster.decisions.embedding_shares import EmbeddingShares, room_for

WEIGHTS = {PRIORITY_REMOVAL: 8, PRIORITY_EDIT: 4, PRIORITY_NEW: 2, PRIORITY_BACKFILL: 1}
ENDLESS = 10**6
ROUNDS = st.lists(
    st.tuples(st.integers(0, 40), st.fixed_dictionaries({priority: st.integers(0, 60) for priority in PRIORITIES})),
    min_size=1,
    max_size=40,
)


def share(priority: int, among: set[int]) -> Fraction:
    return Fraction(WEIGHTS[priority], sum(WEIGHTS[one] for one in among))


@given(ROUNDS)
def test_all_room_is_used_and_nothing_is_taken_that_does_not_wait(rounds: list[tuple[int, dict[int, int]]]) -> None:
    shares = EmbeddingShares()
    for room, waiting in rounds:
        taken = shares.divide(room, waiting)
        assert sum(taken.values()) == min(room, sum(waiting.values()))
        assert all(0 <= count <= waiting[priority] for priority, count in taken.items())


@given(ROUNDS, st.sampled_from(PRIORITIES), st.integers(0, 39))
def test_whoever_waits_gets_a_share_whatever_else_arrives(
    rounds: list[tuple[int, dict[int, int]]], patient: int, since: int
) -> None:
    shares = EmbeddingShares()
    others: set[int] = {patient}
    started = own = 0
    for number, (room, waiting) in enumerate(rounds):
        if number >= since:
            waiting = {**waiting, patient: ENDLESS}
            others |= {priority for priority, count in waiting.items() if count}
        taken = shares.divide(room, waiting)
        if number >= since:
            started += sum(taken.values())
            own += taken.get(patient, 0)
            assert own >= share(patient, others) * started - 2, "the bound that docs/internals/writing.md states"


@given(st.lists(st.integers(1, 300), min_size=20, max_size=60), st.integers(0, 19))
def test_a_new_document_among_endless_edits_is_started_within_four_documents(rooms: list[int], since: int) -> None:
    shares = EmbeddingShares()
    for room in rooms[:since]:
        assert shares.divide(room, {PRIORITY_EDIT: ENDLESS}) == {PRIORITY_EDIT: room}
    before = 0
    for room in rooms[since:]:
        taken = shares.divide(room, {PRIORITY_EDIT: ENDLESS, PRIORITY_NEW: 1})
        if taken[PRIORITY_NEW]:
            return
        before += room
        assert before < 4
    raise AssertionError("never started")


def test_shares_of_a_full_window() -> None:
    shares = EmbeddingShares()
    assert shares.divide(150, dict.fromkeys(PRIORITIES, ENDLESS)) == {0: 80, 1: 40, 2: 20, 3: 10}
    assert shares.divide(300, {PRIORITY_EDIT: ENDLESS, PRIORITY_NEW: ENDLESS}) == {1: 200, 2: 100}


def test_an_edit_among_thousands_of_new_documents_is_started_at_once() -> None:
    shares = EmbeddingShares()
    shares.divide(5000, {PRIORITY_NEW: ENDLESS})
    assert shares.divide(2, {PRIORITY_EDIT: 1, PRIORITY_NEW: ENDLESS}) == {PRIORITY_EDIT: 1, PRIORITY_NEW: 1}


def test_a_priority_that_had_nothing_waiting_saves_nothing_up() -> None:
    shares = EmbeddingShares()
    shares.divide(3000, {PRIORITY_EDIT: ENDLESS})
    burst = shares.divide(30, {PRIORITY_EDIT: ENDLESS, PRIORITY_NEW: ENDLESS})
    assert burst[PRIORITY_EDIT] >= 19


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        ({}, (512, False)),
        ({PRIORITY_EDIT: 300, PRIORITY_NEW: 211}, (1, False)),
        ({PRIORITY_NEW: 512}, (256, True)),
        ({PRIORITY_NEW: 512, PRIORITY_EDIT: 200, PRIORITY_REMOVAL: 50}, (6, True)),
        ({PRIORITY_NEW: 512, PRIORITY_EDIT: 256}, (0, True)),
        # Edits that fill the window take no extra room, so the room that they leave is shared.
        ({PRIORITY_EDIT: 512}, (0, True)),
        ({PRIORITY_BACKFILL: 600}, (256, True)),
    ],
)
def test_room_at_the_encoders(in_flight: dict[int, int], expected: tuple[int, bool]) -> None:
    assert room_for(Counter(in_flight), 512, 256) == expected


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=30, max_size=80))
def test_a_new_document_is_started_soon_while_edits_saturate_the_encoders(ended: list[tuple[int, int]]) -> None:
    """Each round, some documents at the encoders end, and edits wait without end."""
    shares, in_flight = EmbeddingShares(), Counter[int]()
    waited = 0
    for edits_ended, new_ended in ended:
        in_flight[PRIORITY_EDIT] -= min(in_flight[PRIORITY_EDIT], edits_ended)
        in_flight[PRIORITY_NEW] -= min(in_flight[PRIORITY_NEW], new_ended)
        room, only_live = room_for(in_flight, 512, 256)
        waiting = {PRIORITY_EDIT: ENDLESS} if only_live else {PRIORITY_EDIT: ENDLESS, PRIORITY_NEW: 1}
        taken = shares.divide(room, waiting)
        in_flight.update(taken)
        waited = 0 if taken.get(PRIORITY_NEW) else waited + sum(taken.values())
        assert in_flight.total() <= 512 + 256
        assert waited <= 256 + 4
