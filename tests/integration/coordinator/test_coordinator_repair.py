"""Workers, files and connections are lost; the ledger's files become searchable again, lost rows are re-embedded."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shoal.cluster.coordinator.shards import placement_loop
from shoal.cluster.decisions import sealing
from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.records import SegmentCommit
from shoal.v1 import documents_pb2
from shoal.workers.indexing.files import sealing as file_sealing
from shoal.workers.indexing.manifest import ManifestInfo
from support.coordinator.world import NAME, SETTINGS, Gate, World, with_index
from support.gateway.small_cluster import eventually

TEXTS = {f"d{number:02}": f"text {number}" for number in range(20)}
SHOWN = dict.fromkeys(TEXTS, 1)


def test_a_killed_worker_serves_its_shards_again(running: World) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    encoded = len(running.fleet.encoded)
    running.fleet.kill("index-0")
    running.write({"d00": "edited while no worker serves it"})
    running.settles({**SHOWN, "d00": 2})
    again = {text for texts in running.fleet.encoded[encoded:] for text in texts}
    assert again == {"edited while no worker serves it"}


@pytest.mark.parametrize("loss", ["damaged", "missing"])
def test_rows_of_a_lost_segment_are_embedded_again(running: World, loss: str) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    running.fleet.kill("index-0", hold_down=True)
    victim = running.named_files()[0]
    if loss == "damaged":
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 0xFF
        victim.write_bytes(bytes(data))
    else:
        victim.unlink()
    running.fleet.release("index-0")
    eventually(lambda: victim not in running.named_files())
    running.settles(SHOWN)


def test_sealing_merges_files_and_deletes_the_old_ones(world: World) -> None:
    world.start(with_index(seal_delta_rows=8))
    world.create(shards=1)
    for one, text in TEXTS.items():
        world.write({one: text})
    world.send(deletes=["d19"])
    wanted = {**SHOWN, "d19": 0}
    world.settles(wanted)
    eventually(lambda: world.routing().shards[0].stats.sealed_rows > 0)
    eventually(lambda: world.files() == world.named_files())
    assert any(path.name.startswith("sealed-") for path in world.files())
    world.settles(wanted)
    world.write({"d00": "edited after sealing"})
    world.settles({**wanted, "d00": 2})


def test_rows_that_come_while_a_shard_is_sealed_are_sealed_without_another_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "SEAL_PAUSE_S", 0.5)
    world.start(with_index(seal_delta_rows=300))
    world.create(shards=1, dimension=4)
    gate = Gate(monkeypatch, file_sealing, "write_sealed")
    vectors = [struct.pack("<4f", number + 1.0, 1.0, 0.0, 0.0) for number in range(8000)]
    documents = [documents_pb2.Document(id=f"v{number}", vector=vector) for number, vector in enumerate(vectors)]
    world.send(documents[:400])
    gate.wait()
    for start in range(400, 8000, 400):
        world.send(documents[start : start + 400])
    eventually(lambda: world.cut().pending == 0 and world.routing().shards[0].stats.live == 8000)
    assert world.routing().shards[0].stats.delta_rows == 8000
    gate.open()
    eventually(lambda: world.routing().shards[0].stats.delta_rows <= 300)
    assert world.routing().shards[0].stats.live == 8000 and world.fleet.seals >= 2


def test_a_file_found_damaged_while_sealing_is_rebuilt(world: World) -> None:
    world.start()
    world.create(shards=1)
    world.write(TEXTS)
    world.settles(SHOWN)
    world.now.stop()
    # The worker keeps serving the file from memory; only a new reader notices the damage.
    world.named_files()[0].unlink()
    world.start(with_index(seal_segments=1))
    world.write({"e": "one more"})
    world.settles({**SHOWN, "e": 1})
    eventually(lambda: all(path.exists() for path in world.named_files()))
    world.settles({**SHOWN, "e": 1})


def test_shards_of_a_worker_that_stays_away_move_to_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement_loop, "LOST_WORKER_S", 0.3)
    world.start(with_index(workers=2))
    world.create(shards=2)
    world.write(TEXTS)
    world.settles(SHOWN)
    assert len({route.address for route in world.routing().shards}) == 2
    world.fleet.kill("index-0", hold_down=True)
    world.settles(SHOWN)
    assert len({route.address for route in world.routing().shards}) == 1
    assert {shard.worker for shard in world.cut().shards} == {"index-1"}


def test_calls_on_a_closed_channel_are_retried(running: World) -> None:
    """Closing a channel cancels its calls; the tasks that made them must survive that."""
    for number in range(15):
        running.write({one: f"{text} {number}" for one, text in TEXTS.items()})
        life = running.now
        asyncio.run_coroutine_threadsafe(life.core._channels.close_all(), life.server.loop).result(10)
    running.settles(dict.fromkeys(TEXTS, 15))


def test_a_worker_that_refuses_is_not_flooded_with_retries(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError("No space left on device")

    (host,) = running.fleet.hosts()
    with monkeypatch.context() as patch:
        patch.setattr(host, "stage", full)
        running.write({"a": "text"})
        eventually(lambda: bool(running.fleet.encoded))
        threading.Event().wait(1.2)
        assert 1 <= len(running.fleet.encoded) <= 4
    running.settles({"a": 1})


def test_repair_survives_a_ledger_that_cannot_be_read(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running.write({"a": "text"})
    running.settles({"a": 1})
    whole, failures = LedgerProgress.manifest, [1, 2]

    def manifest(self: LedgerProgress, generation: int, shard: int) -> Any:
        if failures:
            failures.pop()
            raise RuntimeError("the ledger is away")
        return whole(self, generation, shard)

    monkeypatch.setattr(LedgerProgress, "manifest", manifest)
    running.fleet.kill("index-0")
    eventually(lambda: running.versions(["a"]) == {"a": 1})
    assert not failures


def test_supervision_survives_a_defect_of_the_fleet(running: World) -> None:
    running.fleet.defects = [RuntimeError("unheard of"), RuntimeError("unheard of")]
    for name in ("index-0", *running.fleet.names("encoder")):
        running.fleet.kill(name)
    running.write({"a": "text"})
    running.settles({"a": 1})
    assert not running.fleet.defects


def test_a_dropped_collection_leaves_no_files(running: World) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    assert running.drop() == len(TEXTS)
    assert running.reader.collections() == []
    eventually(lambda: not running.routing().shards and not running.files())
    assert [host.describe() for host in running.fleet.hosts()] == [[]]
    running.create()
    running.write({"d00": "a new life"})
    running.settles({"d00": 1}, NAME)


def test_a_shard_without_a_worker_does_not_block_the_others(world: World) -> None:
    world.start(replace(with_index(workers=2), encoder=replace(SETTINGS.encoder, batch_documents=2)))
    world.create(shards=2)
    (down,) = {shard.number for shard in world.cut().shards if shard.worker == "index-0"}
    world.fleet.kill("index-0", hold_down=True)
    eventually(lambda: len(world.routing().shards) == 1)
    ids = [f"n{number}" for number in range(200)]
    waiting = [name for name in ids if shard_of(name, 2) == down]
    served = [name for name in ids if shard_of(name, 2) != down]
    # Those that must wait are older, and more than the coordinator reads at once.
    world.write(dict.fromkeys(waiting, "early"))
    world.write(dict.fromkeys(served, "late"))
    eventually(lambda: world.cut().shards[1 - down].pending_documents == 0)
    assert world.cut().shards[down].pending_documents == len(waiting)
    world.fleet.release("index-0")
    world.settles(dict.fromkeys(ids, 1))


def test_files_of_an_earlier_coordinator_are_deleted(world: World) -> None:
    dropped, own = world.fleet.root / "77" / "0" / "segment.arrow", world.fleet.root / "notes" / "mine.txt"
    for file in (dropped, own):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"left behind")
    world.start()
    eventually(lambda: not dropped.exists())
    assert own.exists()


@pytest.mark.parametrize("lost", ["reply to the commit", "manifest"])
def test_a_commit_is_shown_though_the_ledger_fails_right_after_it(
    running: World, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    commit, read = LedgerProgress.commit_segments, LedgerProgress.manifest
    committed, failed = threading.Event(), threading.Event()

    def fail_once() -> None:
        if not failed.is_set():
            failed.set()
            raise LedgerUnreadable("ledger", "the connection was lost")

    def commits(progress: LedgerProgress, commits: Sequence[SegmentCommit]) -> list[str]:
        orphans = commit(progress, commits)
        committed.set()
        if lost == "reply to the commit":
            fail_once()
        return orphans

    def reads(progress: LedgerProgress, generation_id: int, shard: int) -> ManifestInfo:
        if lost == "manifest" and committed.is_set():
            fail_once()
        return read(progress, generation_id, shard)

    monkeypatch.setattr(LedgerProgress, "commit_segments", commits)
    monkeypatch.setattr(LedgerProgress, "manifest", reads)
    running.write({"d00": "edited"})
    # Nothing is pending afterwards, so no later round would show it.
    running.settles({**SHOWN, "d00": 2})
    assert failed.is_set()
    running.write({"d00": "edited again"})
    running.settles({**SHOWN, "d00": 3})
