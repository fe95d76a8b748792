"""Which encoder a call goes to: the least busy one; a suspected batch runs alone."""

from __future__ import annotations

import random

import pytest

from shoal.cluster.decisions.turns import Suspicion, Turns


def test_the_least_busy_replica_is_called() -> None:
    turns = Turns()
    assert [turns.take(["a", "b"]) for _ in range(4)] == ["a", "b", "a", "b"]
    turns.end("b")
    assert turns.take(["a", "b"]) == "b"
    assert turns.take([]) == ""


def test_the_size_of_calls_counts_not_their_number() -> None:
    turns = Turns()
    assert turns.take(["a", "b"], size=1000) == "a"
    assert [turns.take(["a", "b"], size=300) for _ in range(4)] == ["b"] * 4
    assert turns.take(["a", "b"]) == "a"
    turns.end("a", 1000)
    assert turns.take(["a", "b"], size=500) == "a"
    turns.end("a")
    turns.end("a", 500)
    suspicion = Suspicion()
    assert turns.take(["a"], suspicion, size=7) == "a"


def test_a_suspicion_waits_until_it_is_alone_and_keeps_others_out() -> None:
    turns, suspicion = Turns(), Suspicion()
    turns.take(["a"])
    assert turns.take(["a"], suspicion) == "" and turns.waited_for
    assert turns.take(["a"]) == ""
    turns.end("a")
    assert turns.take(["a"], suspicion) == "a"
    assert turns.take(["a"]) == ""
    turns.end("a")
    turns.drop(suspicion)
    assert turns.take(["a"]) == "a" and not turns.waited_for


def test_one_replica_at_a_time_is_reserved() -> None:
    turns, first, second = Turns(), Suspicion(), Suspicion()
    assert turns.take(["a", "b"], first) == "a"
    assert turns.take(["a", "b"], second) == ""
    assert [turns.take(["a", "b"]) for _ in range(2)] == ["b", "b"]
    # Another model's replicas are another matter.
    assert turns.take(["c"], second) == "c"


def test_a_reserved_replica_that_disappears_is_released() -> None:
    turns, suspicion = Turns(), Suspicion()
    turns.take(["a"])
    turns.take(["a", "b"])
    assert turns.take(["a"], suspicion) == ""
    assert turns.take([], suspicion) == "" and not turns.waited_for
    turns.end("b")
    assert turns.take(["b"], suspicion) == "b"


@pytest.mark.parametrize("seed", range(20))
def test_a_suspicion_runs_alone_and_every_call_gets_a_turn(seed: int) -> None:
    chance = random.Random(seed)
    turns = Turns()
    waiting = [Suspicion() if chance.random() < 0.4 else None for _ in range(40)]
    calls: list[tuple[str, Suspicion | None]] = []
    for _ in range(2000):
        if not waiting and not calls:
            break
        ready = chance.sample(["a", "b"], chance.randint(1, 2))
        if waiting and chance.random() < 0.6:
            position = chance.randrange(len(waiting))
            replica = turns.take(ready, waiting[position])
            if replica:
                calls.append((replica, waiting.pop(position)))
        elif calls:
            replica, suspicion = calls.pop(chance.randrange(len(calls)))
            turns.end(replica)
            if suspicion is not None:
                turns.drop(suspicion)
        for replica in {replica for replica, suspicion in calls if suspicion is not None}:
            assert [one for one, _ in calls].count(replica) == 1
    assert not waiting and not calls and not turns.waited_for
