"""Random histories of a small world: searches never rest on a stale vector, and in the end everything converges."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.decisions.reconcile import EncodeFailure
from simulation.small_world import POISONS, RETRY, WORKERS, SmallWorld, vector_of

IDS = [f"d{number}" for number in range(10)]
STEPS = 90
SEEDS_PER_TEST = 50


def is_poison(text: str) -> bool:
    return any(word in text for word in POISONS)


def random_text(chance: random.Random) -> str:
    word = chance.choice(["heron", "reed", "tide", "moon"])
    harm = chance.choice(list(POISONS)) if chance.random() < 0.08 else ""
    return f"{word} {chance.randrange(100)} {harm} {'long ' * chance.choice([0, 0, 30])}"


def step(world: SmallWorld) -> None:
    """Runs one event."""
    chance = world.chance
    one = chance.choice(IDS)
    actions: list[tuple[float, Callable[[], object]]] = [
        (5, lambda: world.upsert(one, random_text(chance), f'{{"n": {chance.randrange(3)}}}')),
        (1, lambda: world.upsert(one, world.records[one].text if one in world.records else "", '{"only": "payload"}')),
        (2, lambda: world.delete(one)),
        (5, world.fetch),
        (2, world.place),
        (4, lambda: world.show(chance.randrange(len(world.shards)))),
        (1, lambda: world.seal(chance.randrange(len(world.shards)))),
        (0.5, world.crash_coordinator),
        (0.7, world.lose_count),
        (0.5, lambda: world.damage(chance.randrange(len(world.shards)))),
        (0.5, lambda: world.crash_worker(chance.choice(WORKERS))),
        (1, lambda: world.up.add(chance.choice(WORKERS))),
        (1, lambda: setattr(world, "now_s", world.now_s + chance.random() * 3)),
    ]
    if world.calls:
        accident = chance.choice([None, None, None, EncodeFailure.BUSY, EncodeFailure.LOST])
        actions.append((8, lambda: world.encode(accident)))
    if world.rows:
        actions.append((6, world.apply))
    weights = [weight for weight, _ in actions]
    chance.choices([action for _, action in actions], weights)[0]()


def check_searches(world: SmallWorld) -> None:
    """What a validated search may say now."""
    query = "heron 1"
    found = world.search(query)
    assert len({hit.id for hit in found}) == len(found), "a document twice in one answer"
    valid: dict[str, int] = {}
    for hit in found:
        record = world.records[hit.id]
        assert hit.version <= record.stored.content_version, f"{hit.id} is ahead of the ledger"
        if record.stored.deleted or hit.version != record.stored.content_version:
            continue
        expected = float(np.dot(vector_of(record.text), vector_of(query)))
        assert hit.score == expected, f"{hit.id} at version {hit.version} has the vector of another text"
        valid[hit.id] = hit.version
    for key, record in world.records.items():
        number = shard_of(key, len(world.shards))
        snapshot, durable = world.shown.get(number), world.shards[number]
        if snapshot is None or snapshot.through < durable.next_ordinal - 1:
            continue
        if record.embedded >= record.wanted and not record.removal:
            assert valid.get(key) == record.wanted, f"{key} is committed and shown but not found"


def settle(world: SmallWorld) -> None:
    """Without further faults, everything pending is embedded in a bounded number of steps."""
    world.up = set(WORKERS)
    for _ in range(400):
        world.place()
        for number in range(len(world.shards)):
            world.show(number)
        started = world.fetch()
        if world.calls:
            world.encode()
        elif world.rows:
            world.apply()
        elif not started:
            waiting = [record.due_s for record in world.records.values() if record.pending]
            if not waiting:
                return
            world.now_s = max(world.now_s, min(waiting))
    raise AssertionError("does not converge")


def check_end(world: SmallWorld) -> None:
    """Every document is searchable as in its newest version."""
    assert not world.in_flight
    for key, record in world.records.items():
        held = world.shown[shard_of(key, len(world.shards))].lookup([key])[0]
        if record.removal:
            assert (held, record.stored.deleted or not record.text) == (0, True), f"{key} is still shown after its deletion"
        elif is_poison(record.text):
            assert (record.failed, record.attempts) == (True, RETRY.attempts), f"poison {key} is not listed"
            assert held < record.wanted
        else:
            assert held == record.stored.content_version == record.wanted, f"{key} is not embedded"
            assert not record.failed and record.attempts == 0, f"{key} is blamed for another document's failure"


@pytest.mark.parametrize("block", range(8))
def test_converges_and_never_shows_stale_vectors(block: int) -> None:
    seen_poison = seen_calls = 0
    for seed in range(block * SEEDS_PER_TEST, (block + 1) * SEEDS_PER_TEST):
        world = SmallWorld(random.Random(seed))
        try:
            for _ in range(STEPS):
                step(world)
                check_searches(world)
                for record in world.records.values():
                    assert is_poison(record.text) or record.attempts == 0, "an innocent document is blamed"
            settle(world)
            check_searches(world)
            check_end(world)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        seen_poison += sum(record.failed for record in world.records.values())
        seen_calls += world.encodes
    # The histories had enough faults.
    assert seen_poison > 0 and seen_calls > 10 * SEEDS_PER_TEST
