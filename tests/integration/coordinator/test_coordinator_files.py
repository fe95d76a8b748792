"""Files that nothing names are deleted, whoever wrote them; those that are about to be named stay."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from shoal.cluster.coordinator.shards import garbage, replicas
from shoal.cluster.decisions.garbage import Sweep
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.workers.indexing.files import sealing
from support.coordinator.world import Gate, World, with_index
from support.gateway.small_cluster import eventually

TEXTS = {f"d{number:02}": f"text {number}" for number in range(20)}
SHOWN = dict.fromkeys(TEXTS, 1)


def drop_while_held(world: World, gate: Gate) -> None:
    """A file written after the drop, once the gate is open, is deleted like those written before it."""
    gate.wait()
    world.drop()
    eventually(lambda: not world.files())
    gate.open()
    assert gate.passed.wait(20)
    eventually(lambda: not world.files())


def test_a_sealed_file_that_comes_after_the_drop_is_cleared_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # The grace is longer than this test waits.
    world.start(with_index(seal_delta_rows=8, file_grace_s=60.0))
    world.create(shards=1)
    gate = Gate(monkeypatch, sealing, "write_sealed")
    world.write(TEXTS)
    drop_while_held(world, gate)


def test_a_segment_that_comes_after_the_drop_is_cleared_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "RELEASE_TIMEOUT_S", 0.2)
    world.start(with_index(file_grace_s=0.2))
    world.create(shards=1)
    world.write(TEXTS)
    world.settles(SHOWN)
    (host,) = world.fleet.hosts()
    gate = Gate(monkeypatch, host, "stage")
    collect, rounds = garbage.collect_garbage, threading.Semaphore(1)

    def collects(*args: Any) -> list[str]:
        # The first time at once, then only when the file is there.
        assert rounds.acquire(blocking=False) or gate.passed.wait(20)
        return collect(*args)

    monkeypatch.setattr(garbage, "collect_garbage", collects)
    world.write({"d00": "edited"})
    drop_while_held(world, gate)


@pytest.mark.parametrize("commit", ["commit_segments", "commit_sealed"])
def test_a_file_that_waits_long_for_its_commit_is_not_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch, commit: str
) -> None:
    world.start(with_index(seal_delta_rows=8, file_grace_s=1.0))
    world.create(shards=1)
    gate = Gate(monkeypatch, LedgerProgress, commit)
    world.write(TEXTS)
    gate.wait()
    life = world.now
    # As when another shard of the collection has been sealed: the file is older than the grace by then.
    threading.Event().wait(1.0)
    sweep = life.core.parts._garbage.sweep(Sweep(world.cut().generation.id, 1.0))
    asyncio.run_coroutine_threadsafe(sweep, life.server.loop).result(10)
    gate.open()
    world.settles(SHOWN)
    eventually(lambda: world.routing().shards[0].stats.sealed_rows > 0)
    assert sorted(text for texts in world.fleet.encoded for text in texts) == sorted(TEXTS.values())
    eventually(lambda: world.files() == world.named_files())
