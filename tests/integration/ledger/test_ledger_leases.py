import pytest
from ledgers import NOW_MS, SETTINGS, Ledger

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.ledger.connection import migrate, open_engine
from shoal.cluster.ledger.errors import Deposed, LeaseHeld
from shoal.cluster.ledger.lease import acquire_lease, read_lease, release_lease, renew_lease
from shoal.cluster.ledger.records import Lease, WriteBatch
from shoal.workers.indexing.manifest import SealedInfo


def test_an_empty_ledger_has_no_holder(ledger_url: str) -> None:
    engine = open_engine(ledger_url, read_only=False)
    migrate(engine)
    assert read_lease(engine) is None
    assert acquire_lease(engine, "one", "10.0.0.1:7", 1000, NOW_MS) == 1
    assert read_lease(engine) == Lease("one", "10.0.0.1:7", 1, NOW_MS + 1000)
    engine.dispose()


def test_a_lease_is_taken_over_when_it_has_expired_or_by_its_own_holder(ledger: Ledger) -> None:
    with pytest.raises(LeaseHeld, match=r"held by coordinator at 127\.0\.0\.1:1 for another 1 ms"):
        acquire_lease(ledger.engine, "other", "10.0.0.2:7", 1000, NOW_MS + 9_999)
    assert acquire_lease(ledger.engine, "coordinator", "10.0.0.3:7", 1000, NOW_MS) == 2
    assert acquire_lease(ledger.engine, "other", "10.0.0.2:7", 1000, NOW_MS + 1000) == 3
    assert read_lease(ledger.reading_engine) == Lease("other", "10.0.0.2:7", 3, NOW_MS + 2000)


def test_a_lease_can_be_renewed_late_but_not_after_another_took_it(ledger: Ledger) -> None:
    renew_lease(ledger.engine, ledger.epoch, 10_000, NOW_MS + 60_000)
    with pytest.raises(LeaseHeld):
        acquire_lease(ledger.engine, "other", "", 1000, NOW_MS + 69_999)
    acquire_lease(ledger.engine, "other", "", 1000, NOW_MS + 70_000)
    with pytest.raises(Deposed, match="epoch 1 has ended; the lease is at epoch 2"):
        renew_lease(ledger.engine, ledger.epoch, 10_000, NOW_MS + 70_001)


def test_a_released_lease_is_free_at_once(ledger: Ledger) -> None:
    release_lease(ledger.engine, ledger.epoch)
    assert acquire_lease(ledger.engine, "other", "", 10_000, NOW_MS) == 2
    release_lease(ledger.engine, ledger.epoch)
    with pytest.raises(LeaseHeld):
        acquire_lease(ledger.engine, "third", "", 1000, NOW_MS)


def test_a_deposed_coordinator_cannot_write_anything(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "x"))
    commits = ledger.segments(generation, ledger.pending(generation))
    acquire_lease(ledger.engine, "other", "", 10_000, NOW_MS + 10_000)
    attempts = (
        lambda: ledger.writer.write([WriteBatch("papers", [Incoming("a", "late")])], NOW_MS),
        lambda: ledger.writer.create_collection("late", SETTINGS, "", 8, NOW_MS),
        lambda: ledger.writer.drop_collection("papers"),
        lambda: ledger.progress.commit_segments(commits),
        lambda: ledger.progress.commit_sealed(generation, 0, SealedInfo(1, "late", "", 0, 0)),
        lambda: ledger.progress.report_damage(generation, 0, [1], sealed=True),
        lambda: ledger.progress.retry_failed("papers", None),
        lambda: ledger.progress.place(generation, {0: "late"}),
    )
    for attempt in attempts:
        with pytest.raises(Deposed):
            attempt()
    assert [document.text for document in ledger.reader.get("papers", ["a"])] == ["x"]
    cut = ledger.reader.cut("papers")
    assert (cut.pending, [shard.worker for shard in cut.shards]) == (1, ["", "", ""])
