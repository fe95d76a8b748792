"""How many replicas a model should have: promises that hold for any load."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.processes.scaling import (
    PoolBounds,
    PoolLoad,
    PoolState,
    Replica,
    Resize,
    ScalingPolicy,
    resize,
    scale,
)

POLICY = ScalingPolicy(queue_s=5.0, idle_s=60.0)
BOUNDS = PoolBounds(1, 8)

loads = st.builds(
    PoolLoad,
    waiting_tokens=st.floats(0, 1e7),
    oldest_s=st.floats(0, 60),
    refusals=st.integers(0, 3),
    speed=st.sampled_from([0.0, 100.0, 10_000.0]),
    busy=st.floats(0, 12),
    ready=st.integers(0, 12),
    unplaced=st.sampled_from([0, 0, 0, 2]),
)
bounds = st.tuples(st.integers(1, 6), st.integers(0, 6)).map(lambda pair: PoolBounds(pair[0], pair[0] + pair[1]))
histories = st.lists(st.tuples(st.floats(0.1, 40), loads), min_size=1, max_size=40)


def history(steps: list[tuple[float, PoolLoad]], limits: PoolBounds, begun: int) -> list[tuple[float, PoolLoad, PoolState]]:
    state, now_s, seen = PoolState(begun), 0.0, []
    for pause_s, load in steps:
        now_s += pause_s
        state = scale(state, load, limits, POLICY, now_s)
        seen.append((now_s, load, state))
    return seen


@settings(max_examples=1000, deadline=None)
@given(histories, bounds, st.integers(1, 12))
def test_any_history_keeps_to_the_bounds_and_grows_at_once(
    steps: list[tuple[float, PoolLoad]], limits: PoolBounds, begun: int
) -> None:
    before = begun
    for _, load, state in history(steps, limits, begun):
        assert limits.least <= state.wanted <= limits.most
        if load.speed and not load.unplaced:
            assert state.wanted >= min(limits.most, math.ceil(load.waiting_tokens / load.speed / POLICY.queue_s))
        if (load.refusals or load.oldest_s > POLICY.queue_s) and not load.unplaced:
            assert state.wanted >= min(limits.most, load.ready + 1)
        if load.unplaced:
            assert state.wanted <= max(before, limits.least)
        # However long it runs, what it remembers stays small: one entry for each size, and the beginning.
        assert len(state.needs) <= limits.most + 1
        before = state.wanted


@settings(max_examples=1000, deadline=None)
@given(histories, bounds, st.integers(1, 12))
def test_no_history_makes_it_flap(steps: list[tuple[float, PoolLoad]], limits: PoolBounds, begun: int) -> None:
    last_above: dict[int, float] = {}
    before = max(limits.least, min(limits.most, begun))
    for now_s, _, state in history(steps, limits, begun):
        if state.wanted < before:
            # A size stays while it was needed recently.
            for size in range(state.wanted + 1, before + 1):
                assert now_s - last_above.get(size, -math.inf) >= POLICY.idle_s or size not in last_above
        for size in range(1, state.needs[-1][1] + 1):
            last_above[size] = now_s
        before = state.wanted


@settings(max_examples=300, deadline=None)
@given(histories, bounds, st.integers(1, 12))
def test_an_idle_pool_falls_to_its_least(steps: list[tuple[float, PoolLoad]], limits: PoolBounds, begun: int) -> None:
    now_s, _, state = history(steps, limits, begun)[-1]
    for _ in range(3):
        now_s += POLICY.idle_s / 2
        state = scale(state, PoolLoad(speed=100.0, ready=state.wanted), limits, POLICY, now_s)
    assert state.wanted == limits.least


def test_work_that_returns_within_the_idle_time_finds_all_replicas() -> None:
    state = PoolState(1)
    for now_s in range(0, 600, 10):
        waiting = 200_000.0 if now_s % 50 == 0 else 0.0
        state = scale(state, PoolLoad(waiting_tokens=waiting, speed=10_000.0, ready=4), BOUNDS, POLICY, float(now_s))
        assert state.wanted == 4


def test_only_one_replica_is_added_while_it_starts() -> None:
    state = PoolState(2)
    refused = PoolLoad(refusals=3, ready=2)
    for now_s in range(20):
        state = scale(state, refused, BOUNDS, POLICY, float(now_s))
        assert state.wanted == 3
    assert scale(state, replace(refused, ready=3), BOUNDS, POLICY, 20.0).wanted == 4


def test_replicas_that_are_busy_without_a_queue_stay() -> None:
    state = PoolState(4)
    for now_s in range(0, 1000, 5):
        state = scale(state, PoolLoad(waiting_tokens=100, speed=10_000.0, busy=2.9, ready=4), BOUNDS, POLICY, float(now_s))
    assert state.wanted == 4


@pytest.mark.parametrize("seed", range(100))
def test_in_a_closed_loop_the_size_settles(seed: int) -> None:
    """Steady arrivals, replicas that start slowly, noisy stats: once settled, the size stays."""
    chance = random.Random(seed)
    speed, start_s = 1000.0, chance.uniform(1, 30)
    arrivals = chance.uniform(0.05, 6.0) * speed
    state, queue, up, changes = PoolState(1), 0.0, [0.0], []
    busy = 0.0
    for now in range(1, 1500):
        ready = sum(since <= now for since in up)
        done = min(queue + arrivals, ready * speed)
        queue += arrivals - done
        busy += (done / speed - busy) / 10
        seen = speed * chance.uniform(0.9, 1.1)
        load = PoolLoad(queue, queue / (ready * speed) if ready else 0.0, 0, seen, busy * chance.uniform(0.97, 1.03), ready)
        before, state = state, scale(state, load, BOUNDS, POLICY, float(now))
        if state.wanted != before.wanted:
            changes.append(now)
        up += [now + start_s] * (state.wanted - len(up))
        del up[state.wanted :]
    assert queue <= POLICY.queue_s * speed * state.wanted
    assert state.wanted >= math.floor(arrivals / speed)
    # The surplus of the start is given back once; then the size rarely changes.
    assert len([at for at in changes if at > 750]) <= 1
    assert state.wanted <= math.ceil(arrivals / speed / 0.8) + 1


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.builds(Replica, st.integers(0, 12), st.booleans(), st.booleans()), unique_by=lambda one: one.index),
    st.integers(1, 10),
)
def test_resizing_reaches_the_wanted_number(replicas: list[Replica], wanted: int) -> None:
    change = resize(replicas, wanted)
    present = {one.index for one in replicas if not one.draining}
    draining = {one.index for one in replicas if one.draining}
    assert not set(change.add) & (present | draining)
    assert set(change.revive) <= draining and set(change.drain) <= present
    assert len(present | set(change.add) | set(change.revive)) - len(change.drain) == wanted
    assert not change.drain or not (change.add or change.revive)
    ready = {one.index for one in replicas if one.ready}
    # No ready replica is drained while one that is not ready is kept.
    if set(change.drain) & ready:
        assert present - set(change.drain) <= ready


def test_the_lowest_free_indexes_are_used() -> None:
    assert resize([Replica(1, True), Replica(3, False)], 4) == Resize(add=(0, 2))
    assert resize([Replica(0, True), Replica(1, True, True), Replica(2, False, True)], 3) == Resize(add=(3,), revive=(1,))
    assert resize([Replica(0, True), Replica(1, False), Replica(2, True)], 1) == Resize(drain=(1, 2))


def test_a_size_is_given_up_once_it_was_not_needed_for_the_idle_time() -> None:
    state = scale(PoolState(4), PoolLoad(), BOUNDS, POLICY, 0.0)
    assert scale(state, PoolLoad(), BOUNDS, POLICY, POLICY.idle_s - 0.1).wanted == 4
    assert scale(state, PoolLoad(), BOUNDS, POLICY, POLICY.idle_s).wanted == 1


def test_a_need_that_repeats_is_remembered_once_and_from_its_last_time() -> None:
    state = PoolState(1)
    for now_s in (0.0, 7.0):
        state = scale(state, PoolLoad(waiting_tokens=200_000, speed=10_000.0), BOUNDS, POLICY, now_s)
    assert state == PoolState(4, ((7.0, 4),))


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        # Waiting as long as the policy allows is not too long.
        (PoolLoad(oldest_s=POLICY.queue_s, ready=3), 1),
        (PoolLoad(oldest_s=POLICY.queue_s + 0.1, ready=3), 4),
        (PoolLoad(refusals=1), 1),
        (PoolLoad(waiting_tokens=POLICY.queue_s * 3, speed=1.0), 3),
        (PoolLoad(waiting_tokens=POLICY.queue_s * 3 + 1, speed=1.0), 4),
    ],
)
def test_when_a_pool_grows(load: PoolLoad, wanted: int) -> None:
    assert scale(PoolState(1), load, BOUNDS, POLICY, 0.0).wanted == wanted


@pytest.mark.parametrize("pair", [(0, 1), (3, 2)])
def test_invalid_bounds(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        PoolBounds(*pair)
