"""A shard against a dictionary, through files, seals and reopenings; its version fence; its answers among dead rows."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.indexing.files.sealing import seal
from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.host import ShardHost
from shoal.workers.indexing.kinds.flat_index import FlatIndex
from shoal.workers.indexing.kinds.registry import KINDS, build_index
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo
from shoal.workers.indexing.metric import METRICS, Floats, Ints, prepare
from shoal.workers.indexing.shard.sealed_part import SealedPart
from shoal.workers.indexing.shard.shard import ShardStats, Snapshot
from support.models.indexes import clustered
from support.models.shard_model import Row, ShardModel, rows_from

IDS = "abcdefgh"
KEY = (3, 1)

vectors = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
rows = st.tuples(st.sampled_from(IDS), st.integers(1, 6), st.one_of(st.none(), vectors, vectors))
steps = st.lists(
    st.one_of(
        st.lists(rows, min_size=1, max_size=6),
        st.lists(rows, min_size=1, max_size=6),
        st.sampled_from(["seal", "reopen", "again"]),
    ),
    max_size=10,
)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    steps=steps,
    query=vectors,
    k=st.integers(1, 10),
)
def test_equals_a_dictionary_through_seals_and_reopenings(
    kind: str, metric: str, steps: list[str | list[Row]], query: list[float], k: int
) -> None:
    model = ShardModel(metric, {})
    with tempfile.TemporaryDirectory() as root:
        storage = Storage(root)
        host = ShardHost(storage)
        manifest = ManifestInfo(*KEY, IndexSpec(kind, metric, 3), None, ())
        host.sync(1, manifest)
        for step in steps:
            if step == "seal":
                if manifest.through:
                    manifest = ManifestInfo(*KEY, manifest.spec, seal(root, manifest), ())
            elif step == "reopen":
                host = ShardHost(storage)
            elif isinstance(step, list):
                segment = host.stage(1, KEY, manifest.spec, manifest.through + 1, rows_from(step, 3))
                manifest = ManifestInfo(*KEY, manifest.spec, manifest.sealed, (*manifest.segments, segment))
                model.apply(step)
            outcome = host.sync(1, manifest)
            assert (outcome.damaged_ordinals, outcome.sealed_damaged) == ((), False)
            assert outcome.stats == host.stats(KEY)
            assert outcome.stats.through == manifest.through
            assert outcome.stats.live == sum(version > 0 for version in model.versions(IDS))
            assert outcome.stats.segments == len(manifest.segments)
            model.check(host.search(KEY, np.array([query], dtype=np.float32), k), query, k)
            assert host.lookup(KEY, [*IDS, "unknown"]) == [*model.versions(IDS), 0]
            versions, packed = host.vectors(KEY, [*IDS, "unknown"])
            assert versions == [*model.versions(IDS), 0]
            live = [model.rows[one][2] for one, version in zip(IDS, model.versions(IDS), strict=True) if version]
            held = prepare(np.array(live, dtype=np.float32).reshape(-1, 3), metric, 3, "vectors")
            np.testing.assert_allclose(np.frombuffer(packed, "<f4").reshape(-1, 3), held, rtol=1e-6)


def _shard(*segments: list[Row], sealed: SealedPart | None = None) -> Snapshot:
    snapshot = Snapshot.empty(IndexSpec("flat", "dot", 2), sealed)
    return snapshot.extended([(i + 1 + snapshot.through, rows_from(rows, 2)) for i, rows in enumerate(segments)])


def test_an_older_or_equal_version_is_never_taken() -> None:
    shard = _shard([("a", 5, [1, 0])], [("a", 4, [9, 9]), ("a", 5, [8, 8]), ("a", 3, None)])
    hits = shard.search(np.array([[1, 1]], dtype=np.float32), 3)
    assert (hits.ids, hits.versions, hits.scores) == (["a"], [5], [1.0])


def test_a_late_older_row_does_not_bring_a_deleted_document_back() -> None:
    shard = _shard([("a", 1, [1, 0])], [("a", 3, None)], [("a", 2, [1, 0])])
    assert shard.lookup(["a"]) == [0]
    assert shard.search(np.array([[1, 1]], dtype=np.float32), 3).counts == [0]


def test_a_deletion_of_an_unknown_document_fences_too() -> None:
    assert _shard([("a", 3, None)], [("a", 2, [1, 0])]).lookup(["a"]) == [0]


def test_a_newer_row_comes_back_after_a_deletion() -> None:
    assert _shard([("a", 3, None)], [("a", 4, [1, 0])]).lookup(["a"]) == [4]


def test_rows_of_one_segment_go_in_order() -> None:
    shard = _shard([("a", 1, [1, 0]), ("a", 2, None), ("a", 3, [0, 2]), ("b", 1, [1, 1])])
    hits = shard.search(np.array([[1, 1]], dtype=np.float32), 3)
    assert (hits.ids, hits.versions) == (["a", "b"], [3, 1])
    assert shard.stats().delta_rows == 3 and shard.stats().live == 2


def test_the_fence_holds_on_the_sealed_part() -> None:
    index = build_index(IndexSpec("flat", "dot", 2), [[1, 0], [0, 1]])
    gone = np.array([7], dtype=np.int64)
    sealed = SealedPart(9, ["a", "c"], np.array([5, 6], dtype=np.int64), index, ["b"], gone)
    shard = _shard([("a", 5, [7, 7]), ("b", 6, [7, 7]), ("c", 7, [0, 3])], sealed=sealed)
    assert shard.lookup(["a", "b", "c"]) == [5, 0, 7]
    stats = shard.stats()
    assert (stats.through, stats.live, stats.sealed_rows, stats.sealed_dead, stats.delta_rows) == (10, 2, 2, 1, 1)


def test_ordinals_must_grow() -> None:
    with pytest.raises(ValueError, match="segment 1 comes after segment 1"):
        _shard([("a", 1, [1, 0])]).extended([(1, rows_from([("a", 2, [1, 0])], 2))])


def test_a_bad_vector_leaves_the_shard_as_it_was() -> None:
    shard = _shard([("a", 1, [1, 0])])
    with pytest.raises(ValueError, match=r"rows.vectors row 1"):
        shard.extended([(2, rows_from([("b", 1, [1, 1])], 2)), (3, rows_from([("c", 1, [1, 1]), ("d", 1, [1, np.nan])], 2))])
    after = shard.extended([(2, rows_from([("e", 1, [3, 3])], 2))])
    assert after.search(np.array([[1, 1]], dtype=np.float32), 9).ids == ["e", "a"]


def test_an_older_snapshot_does_not_see_what_came_after() -> None:
    shard = _shard([("a", 1, [1, 0]), ("b", 1, [2, 0])])
    query = np.array([[1, 0]], dtype=np.float32)
    before = shard.search(query, 500)
    later = shard
    for ordinal in range(2, 200):
        later = later.extended(
            [(ordinal, rows_from([("a", ordinal, [3, 0]), (f"n{ordinal}", 1, [9, 9]), ("b", 2, None)], 2))]
        )
    assert shard.search(query, 500) == before
    assert shard.lookup(["a", "b", "n7"]) == [1, 1, 0]
    assert later.search(query, 500).counts == [199]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k"):
        _shard().search(np.zeros((1, 2), dtype=np.float32), k)


def test_bad_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="queries"):
        _shard().search(np.zeros((1, 3), dtype=np.float32), 1)
    with pytest.raises(ValueError, match="queries row 1"):
        _shard().search(np.array([[1, 2], [np.nan, 0]], dtype=np.float32), 1)


def test_a_huge_k_costs_no_more_than_the_rows() -> None:
    hits = _shard([("a", 1, [1, 0])]).search(np.ones((4, 2), dtype=np.float32), 2**31 - 1)
    assert hits.counts == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("gone", [30, 600, 1500, 1900])
def test_k_live_rows_are_found_though_dead_rows_surround_the_query(kind: str, metric: str, gone: int) -> None:
    data = clustered(3000, 16, 30)
    spec = IndexSpec(kind, metric, 16)
    ids = [f"{i:05d}" for i in range(3000)]
    index = build_index(spec, data)
    sealed = SealedPart(1, ids, np.ones(3000, dtype=np.int64), index, [], np.empty(0, dtype=np.int64))
    query = data[:1]
    near = index.search(prepare(query, metric), 2000)[0][0].tolist()
    deleted: list[Row] = [(ids[row], 2, None) for row in near[:gone]]
    shard = Snapshot.empty(spec, sealed).extended([(2, rows_from(deleted, 16))])
    live = 3000 - gone
    for k in (1, 10, 100, live, 3000):
        hits = shard.search(query, k)
        assert hits.counts == [min(k, live)]
        assert set(hits.ids).isdisjoint(document_id for document_id, _, _ in deleted)
    assert shard.search(query, 1).ids[0] in {ids[row] for row in near[gone:]}


@pytest.mark.parametrize(
    ("dead", "k", "fetched"),
    [
        (0, 10, [10]),
        (20, 10, [10 + 16 + 3]),
        (50, 10, [10 + 16 + 15]),
        # Sealing is overdue: a scan is cheaper.
        (51, 10, []),
        (100, 10, []),
        # There are no more rows than these.
        (20, 1000, [100]),
    ],
)
def test_an_index_is_asked_for_more_rows_where_some_are_dead(
    monkeypatch: pytest.MonkeyPatch, dead: int, k: int, fetched: list[int]
) -> None:
    searched = []
    search = FlatIndex.search

    def recorded(index: FlatIndex, queries: Floats, count: int) -> tuple[Ints, Floats]:
        searched.append(count)
        return search(index, queries, count)

    monkeypatch.setattr(FlatIndex, "search", recorded)
    shard = _row_of_a_hundred(range(dead))
    hits = shard.search(np.array([[-1, 0]], dtype=np.float32), k)
    assert hits.ids == [f"{i:02d}" for i in range(dead, min(100, dead + k))]
    assert searched == fetched


def test_every_query_of_a_call_finds_live_rows_behind_dead_ones() -> None:
    shard = _row_of_a_hundred(range(40))
    queries = np.array([[-1, 0], [1, 0], [-2, 0]], dtype=np.float32)
    assert shard.search(queries, 1).ids == ["40", "99", "40"]


def _row_of_a_hundred(dead: range) -> Snapshot:
    """Documents 00 to 99, whose first component is their number; these are deleted."""
    data = np.stack([np.arange(100), np.zeros(100)], axis=1).astype(np.float32)
    ids, versions = [f"{i:02d}" for i in range(100)], np.ones(100, dtype=np.int64)
    sealed = SealedPart(1, ids, versions, build_index(IndexSpec("flat", "dot", 2), data), [], versions[:0])
    return _shard([(ids[row], 2, None) for row in dead], sealed=sealed) if dead else _shard(sealed=sealed)


def test_an_empty_shard_has_lost_nothing() -> None:
    assert _shard().stats() == ShardStats(0, 0, 0, 0, 0, 0, 0)


def test_equal_scores_go_by_id_across_the_parts() -> None:
    index = build_index(IndexSpec("flat", "dot", 2), [[1, 0]] * 3)
    versions = np.ones(3, dtype=np.int64)
    sealed = SealedPart(1, ["b", "d", "f"], versions, index, [], versions[:0])
    shard = _shard([("e", 1, [1, 0]), ("a", 1, [1, 0]), ("c", 1, [1, 0])], sealed=sealed)
    query = np.array([[1, 0]], dtype=np.float32)
    assert [shard.search(query, k).ids for k in (1, 2, 3, 9)] == [["a"], ["a", "b"], ["a", "b", "c"], list("abcdef")]


def test_an_abandoned_state_leaves_no_trace_in_the_next() -> None:
    shard = _shard([("a", 1, [1, 0])])
    query = np.array([[1, 0]], dtype=np.float32)
    shard.extended([(2, rows_from([("lost", 1, [9, 0]), ("a", 2, None)], 2))])
    after = shard.extended([(2, rows_from([("b", 1, [2, 0]), ("c", 1, [3, 0])], 2))])
    assert shard.search(query, 9).ids == ["a"]
    assert after.search(query, 9).ids == ["c", "b", "a"]
