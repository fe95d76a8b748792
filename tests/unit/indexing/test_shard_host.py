"""The shards of one worker: what a sync reads and keeps, which calls wait, and which are refused."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from shoal.workers.indexing.files.sealing import seal
from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.host import ShardHost, StaleEpoch, UnknownShard
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo, SegmentInfo
from shoal.workers.indexing.shard.staged_rows import StagedRows
from support.models.shard_model import Row, rows_from

KEY = (3, 1)
SPEC = IndexSpec("flat", "dot", 2)
QUERY = np.array([[1, 1]], dtype=np.float32)


def _stage(host: ShardHost, ordinal: int, *rows: Row) -> SegmentInfo:
    return host.stage(1, KEY, SPEC, ordinal, rows_from(rows, 2))


def _manifest(*segments: SegmentInfo) -> ManifestInfo:
    return ManifestInfo(*KEY, SPEC, None, segments)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    (tmp_path / "files").mkdir()
    return Storage(str(tmp_path / "files"))


@pytest.fixture
def host(storage: Storage) -> ShardHost:
    return ShardHost(storage)


def test_staged_rows_are_invisible_until_a_manifest_names_them(host: ShardHost) -> None:
    first, other = _stage(host, 1, ("a", 1, [1, 0])), _stage(host, 1, ("b", 1, [2, 0]))
    host.sync(1, _manifest())
    assert host.search(KEY, QUERY, 5).ids == []
    host.sync(1, _manifest(first))
    assert host.search(KEY, QUERY, 5).ids == ["a"]
    # Another attempt at the same ordinal was committed after all: the first one's row is gone again.
    host.sync(1, _manifest(other))
    assert host.search(KEY, QUERY, 5).ids == ["b"]


def test_a_sync_that_continues_reads_only_what_is_new(host: ShardHost, storage: Storage) -> None:
    first = _stage(host, 1, ("a", 1, [1, 0]))
    host.sync(1, _manifest(first))
    storage.delete(first.path)
    second = _stage(host, 2, ("b", 1, [2, 0]))
    outcome = host.sync(1, _manifest(first, second))
    assert (outcome.damaged_ordinals, outcome.stats.through, outcome.stats.live) == ((), 2, 2)
    assert host.sync(1, _manifest(first, second)).stats == outcome.stats


def test_a_change_below_the_segments_reads_everything_again(host: ShardHost, storage: Storage) -> None:
    first, second = _stage(host, 1, ("a", 1, [1, 0])), _stage(host, 2, ("b", 1, [2, 0]))
    sealed = seal(storage.root, _manifest(first))
    host.sync(1, _manifest())
    # No segments before and none now: only the sealed file is new.
    host.sync(1, ManifestInfo(*KEY, SPEC, sealed, ()))
    assert host.search(KEY, QUERY, 5).ids == ["a"]
    host.sync(1, ManifestInfo(*KEY, SPEC, sealed, (second,)))
    # The sealed file was damaged, and the ledger has dropped it.
    host.sync(1, _manifest(second))
    assert host.search(KEY, QUERY, 5).ids == ["b"]
    host.sync(1, ManifestInfo(*KEY, IndexSpec("flat", "l2", 2), None, (second,)))
    assert host.search(KEY, QUERY, 5).scores == [-2.0]


def test_rows_staged_here_are_not_read_back(host: ShardHost, storage: Storage) -> None:
    segment = _stage(host, 1, ("a", 1, [1, 0]))
    storage.delete(segment.path)
    assert host.sync(1, _manifest(segment)).stats.live == 1
    assert ShardHost(storage, staged_bytes=0).sync(1, _manifest(segment)).damaged_ordinals == (1,)


def test_damage_names_every_file_and_keeps_the_old_state(host: ShardHost, storage: Storage, tmp_path: Path) -> None:
    segments = [_stage(host, ordinal, (f"d{ordinal}", 1, [ordinal, 0])) for ordinal in (1, 2, 3, 4)]
    sealed = seal(storage.root, _manifest(segments[0]))
    fresh = ShardHost(storage)
    fresh.sync(1, _manifest(segments[0]))
    storage.delete(segments[1].path)
    (tmp_path / "files" / segments[3].path).write_bytes(b"junk")
    storage.delete(sealed.path)
    outcome = fresh.sync(1, ManifestInfo(*KEY, SPEC, sealed, tuple(segments[1:])))
    assert (outcome.damaged_ordinals, outcome.sealed_damaged) == ((2, 4), True)
    assert (outcome.stats.through, fresh.search(KEY, QUERY, 9).ids) == (1, ["d1"])
    # The ledger drops the damaged files; the rest is then shown.
    rest = ManifestInfo(*KEY, SPEC, None, (segments[0], segments[2]), damage_count=1)
    stats = fresh.sync(1, rest).stats
    assert (stats.live, stats.through, stats.damage_count) == (2, 3, 1)
    # A caller that expects segment 2 learns from the damage count that it is gone: the ordinal does not show it.
    assert fresh.search(KEY, QUERY, 9).damage_count == 1
    assert [stats.damage_count for _, stats in fresh.describe()] == [1]


def test_a_new_shard_with_damage_stays_closed(host: ShardHost, storage: Storage) -> None:
    segment = _stage(host, 1, ("a", 1, [1, 0]))
    storage.delete(segment.path)
    other = ShardHost(storage)
    outcome = other.sync(1, _manifest(segment))
    assert (outcome.damaged_ordinals, outcome.stats.through) == ((1,), 0)
    with pytest.raises(UnknownShard, match="shard 3/1 is not open here"):
        other.search(KEY, QUERY, 1)


def test_an_unreachable_storage_is_an_error_and_not_damage(host: ShardHost, storage: Storage, tmp_path: Path) -> None:
    segment = _stage(host, 1, ("a", 1, [1, 0]))
    (tmp_path / "files").rename(tmp_path / "gone")
    with pytest.raises(OSError, match=r"storage root .* does not exist"):
        ShardHost(storage).sync(1, _manifest(segment))


def test_commands_of_a_replaced_coordinator_are_refused(host: ShardHost) -> None:
    segment = host.stage(4, KEY, SPEC, 1, rows_from([("a", 1, [1, 0])], 2))
    host.sync(5, _manifest(segment))
    for command in (
        lambda: host.stage(4, KEY, SPEC, 2, rows_from([("a", 2, [1, 0])], 2)),
        lambda: host.sync(4, _manifest()),
        lambda: host.release(4, KEY),
    ):
        with pytest.raises(StaleEpoch, match="epoch 4 has ended: a coordinator with epoch 5"):
            command()
    assert host.search(KEY, QUERY, 1).ids == ["a"]


@pytest.mark.parametrize(
    ("spec", "ordinal", "rows", "named"),
    [
        (IndexSpec("tree", "dot", 2), 1, [("a", 1, [1, 0])], "kind 'tree'"),
        (SPEC, 0, [("a", 1, [1, 0])], "ordinal 0"),
        (SPEC, 1, [], "at least one row"),
        (IndexSpec("flat", "dot", 3), 1, [("a", 1, [1, 0])], "rows.vectors"),
        (SPEC, 1, [("a", 1, [1, 0]), ("b", 1, [np.inf, 0])], "rows.vectors row 1"),
    ],
)
def test_bad_stages_write_no_file(
    host: ShardHost, storage: Storage, spec: IndexSpec, ordinal: int, rows: list[Row], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        host.stage(1, KEY, spec, ordinal, rows_from(rows, 2))
    assert storage.list("3") == []


def test_manifests_out_of_order_are_refused(host: ShardHost) -> None:
    first, second = _stage(host, 1, ("a", 1, [1, 0])), _stage(host, 2, ("b", 1, [2, 0]))
    with pytest.raises(ValueError, match="ordinal 1 comes after 2"):
        host.sync(1, _manifest(second, first))


def test_waiters_are_served_in_order(host: ShardHost) -> None:
    first, second = _stage(host, 1, ("a", 1, [1, 0])), _stage(host, 2, ("b", 1, [2, 0]))
    host.sync(1, _manifest())
    assert host.reached(KEY, 0).done()
    one, two, impatient = host.reached(KEY, 1), host.reached(KEY, 2), host.reached(KEY, 1)
    impatient.cancel()
    host.sync(1, _manifest(first))
    assert (one.done(), two.done()) == (True, False)
    host.sync(1, _manifest(first, second))
    assert two.result(timeout=0) is None
    with pytest.raises(CancelledError):
        impatient.result(timeout=0)


def test_release_closes_the_shard_and_frees_its_waiters(host: ShardHost) -> None:
    host.sync(1, _manifest())
    waiter = host.reached(KEY, 3)
    host.release(1, KEY)
    host.release(1, KEY)
    with pytest.raises(UnknownShard):
        waiter.result(timeout=0)
    for ask in (lambda: host.reached(KEY, 0), lambda: host.lookup(KEY, ["a"]), lambda: host.stats(KEY)):
        with pytest.raises(UnknownShard):
            ask()
    assert host.describe() == []


def test_searches_during_syncs_see_complete_states_only(host: ShardHost, storage: Storage) -> None:
    """Every segment increments the version of all 40 documents, so that a torn state would show two versions."""
    count, rounds = 40, 30
    ids = [f"d{i}" for i in range(count)]
    segments: list[SegmentInfo] = []
    host.sync(1, _manifest())
    torn: list[str] = []
    seen: set[int] = set()
    over = threading.Event()

    def search() -> None:
        newest = 0
        while not over.is_set():
            hits = host.search(KEY, QUERY, 100)
            looked = set(host.lookup(KEY, ids))
            good = len(set(hits.versions)) <= 1 and len(hits.ids) in (0, count) and hits.through >= newest
            if not good or len(looked) != 1 or hits.versions != [hits.through] * len(hits.ids):
                torn.append(f"{hits} {looked}")
            newest = hits.through
            seen.add(newest)
            over.wait(0.0005)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    sealed = None
    for version in range(1, rounds + 1):
        segments.append(_stage(host, version, *[(one, version, [version, i]) for i, one in enumerate(ids)]))
        host.sync(1, ManifestInfo(*KEY, SPEC, sealed, tuple(segments)))
        if version % 10 == 0:
            sealed = seal(storage.root, ManifestInfo(*KEY, SPEC, sealed, tuple(segments)))
            segments.clear()
            host.sync(1, ManifestInfo(*KEY, SPEC, sealed, ()))
    over.set()
    for thread in threads:
        thread.join()
    assert torn == []
    assert len(seen) > 5


def test_searches_do_not_wait_for_a_hanging_sync(host: ShardHost, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _stage(host, 1, ("a", 1, [1, 0])), _stage(host, 2, ("b", 1, [2, 0]))
    other = ShardHost(storage)
    other.sync(1, _manifest(first))
    reading, go_on = threading.Event(), threading.Event()
    real = storage.read

    def slow_read(path: str, checksum: str) -> object:
        reading.set()
        assert go_on.wait(20)
        return real(path, checksum)

    monkeypatch.setattr(storage, "read", slow_read)
    syncing = threading.Thread(target=other.sync, args=(1, _manifest(first, second)))
    syncing.start()
    assert reading.wait(20)
    assert other.search(KEY, QUERY, 5).ids == ["a"]
    # Another shard continues too.
    other.sync(1, ManifestInfo(3, 2, SPEC, None, ()))
    assert [key for key, _ in other.describe()] == [(3, 1), (3, 2)]
    go_on.set()
    syncing.join()
    assert other.search(KEY, QUERY, 5).ids == ["b", "a"]


def test_a_sync_that_queued_behind_a_newer_coordinator_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = [_stage(ShardHost(storage), ordinal, ("a", ordinal, [1, 0])) for ordinal in (1, 2)]
    host = ShardHost(storage)
    reading, go_on = threading.Event(), threading.Event()
    real = storage.read

    def slow_read(path: str, checksum: str) -> object:
        reading.set()
        assert go_on.wait(20)
        return real(path, checksum)

    monkeypatch.setattr(storage, "read", slow_read)
    refused: list[StaleEpoch] = []

    def late() -> None:
        try:
            host.sync(1, _manifest())
        except StaleEpoch as error:
            refused.append(error)

    running = threading.Thread(target=host.sync, args=(1, _manifest(segments[0])))
    running.start()
    assert reading.wait(20)
    queued = threading.Thread(target=late)
    queued.start()
    newer = threading.Thread(target=host.sync, args=(2, _manifest(*segments)))
    newer.start()
    with pytest.raises(StaleEpoch):
        while True:
            host.stage(1, KEY, SPEC, 9, rows_from([("x", 1, [1, 0])], 2))
    go_on.set()
    for thread in (running, queued, newer):
        thread.join()
    assert host.stats(KEY).through == 2


def test_staged_rows_stay_within_their_limit() -> None:
    rows = [rows_from([(f"{i}", 1, [1.0] * 100)], 100) for i in range(3)]
    staged = StagedRows(limit=2 * rows[0].size)
    for i in range(3):
        staged.keep(str(i), rows[i])
    assert staged.find("0") is None
    assert staged.find("1") is rows[1] and staged.find("2") is rows[2]
    staged.keep("2", rows[0])
    assert staged.find("1") is rows[1] and staged.find("2") is rows[0]
    staged.forget("1")
    assert staged.find("1") is None
    staged.keep("3", rows[1])
    assert staged.find("2") is rows[0] and staged.find("3") is rows[1]
