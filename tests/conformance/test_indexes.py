"""One suite over all kinds of index and all metrics."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from shoal.workers.indexing.kinds.registry import KINDS, build_index, check_spec, index_class
from shoal.workers.indexing.kinds.vector_index import VectorIndex
from shoal.workers.indexing.manifest import IndexSpec
from shoal.workers.indexing.metric import METRICS, prepare
from support.models.indexes import clustered, recall, reloaded, true_scores

DIMENSION = 24


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=METRICS)
def spec(request: pytest.FixtureRequest, kind: str) -> IndexSpec:
    return IndexSpec(kind, request.param, DIMENSION)


def _check_answer(index: VectorIndex, spec: IndexSpec, vectors: np.ndarray, queries: np.ndarray, k: int) -> float:
    """Checks what holds for every answer of every kind; returns the recall."""
    rows, scores = index.search(prepare(queries, spec.metric), k)
    assert rows.shape == scores.shape == (len(queries), k)
    assert rows.dtype == np.int64 and scores.dtype == np.float32
    count = min(k, len(vectors))
    assert (rows[:, :count] >= 0).all() and (rows[:, count:] == -1).all() and np.isneginf(scores[:, count:]).all()
    rows, scores = rows[:, :count], scores[:, :count]
    assert all(len(set(one)) == count for one in rows.tolist())
    expected = true_scores(vectors, queries, spec.metric)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, axis=1), rtol=1e-5, atol=1e-4)
    for one, row in zip(scores.tolist(), rows.tolist(), strict=True):
        order = [(-score, position) for score, position in zip(one, row, strict=True)]
        assert order == sorted(order)
    return recall(rows, expected, count) if count else 1.0


@pytest.mark.parametrize("k", [1, 10, 100])
def test_recall_on_clustered_data(spec: IndexSpec, k: int) -> None:
    vectors, queries = clustered(6000, DIMENSION, 1), clustered(40, DIMENSION, 2)
    found = _check_answer(reloaded(spec, vectors), spec, vectors, queries, k)
    assert found >= (1.0 if spec.kind == "flat" else 0.95)


def test_k_close_to_and_beyond_the_number_of_rows(spec: IndexSpec) -> None:
    vectors, queries = clustered(2500, DIMENSION, 3), clustered(3, DIMENSION, 4)
    index = reloaded(spec, vectors)
    for k in (1200, 2499, 2500, 2600):
        assert _check_answer(index, spec, vectors, queries, k) >= 0.95


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40, 100])
@pytest.mark.parametrize("k", [1, 3, 200])
def test_few_rows(spec: IndexSpec, count: int, k: int) -> None:
    vectors, queries = clustered(count, DIMENSION, 5), clustered(2, DIMENSION, 6)
    index = reloaded(spec, vectors)
    assert len(index) == count
    assert _check_answer(index, spec, vectors, queries, k) == 1.0


def test_no_queries(spec: IndexSpec) -> None:
    index = build_index(spec, clustered(3000, DIMENSION, 8))
    rows, scores = index.search(np.empty((0, DIMENSION), dtype=np.float32), 4)
    assert rows.shape == scores.shape == (0, 4)


def test_most_rows_are_copies_of_one(spec: IndexSpec) -> None:
    # In a graph, thousands of equal nodes link only to each other and hide the rest.
    others = clustered(2000, DIMENSION, 9)
    copies = np.repeat(clustered(1, DIMENSION, 10), 3000, axis=0)
    vectors = np.concatenate([others[:1000], copies, others[1000:]])
    index = reloaded(spec, vectors)
    assert _check_answer(index, spec, vectors, others[::50].copy(), 10) >= 0.95
    rows, _ = index.search(prepare(copies[:1], spec.metric), 50)
    assert _check_answer(index, spec, vectors, copies[:1], 50) == 1.0
    if spec.metric != "dot":
        assert set(rows[0].tolist()) <= set(range(1000, 4000))


def test_all_rows_equal(spec: IndexSpec) -> None:
    vectors = np.repeat(clustered(1, DIMENSION, 11), 2000, axis=0)
    index = reloaded(spec, vectors)
    assert _check_answer(index, spec, vectors, clustered(3, DIMENSION, 12), 10) == 1.0


def test_zero_rows_and_queries(spec: IndexSpec) -> None:
    vectors = clustered(1500, DIMENSION, 13)
    vectors[::3] = 0
    queries = np.concatenate([np.zeros((1, DIMENSION), dtype=np.float32), clustered(2, DIMENSION, 14)])
    _check_answer(reloaded(spec, vectors), spec, vectors, queries, 10)


def test_searching_alone_and_in_a_batch_gives_the_same_results(spec: IndexSpec) -> None:
    vectors, queries = clustered(3000, DIMENSION, 15), prepare(clustered(30, DIMENSION, 16), spec.metric)
    index = build_index(spec, vectors)
    together = index.search(queries, 7)
    for i in range(len(queries)):
        alone = index.search(queries[i : i + 1], 7)
        np.testing.assert_array_equal(alone[0][0], together[0][i])
        np.testing.assert_array_equal(alone[1][0], together[1][i])


def test_loaded_index_answers_like_the_built_one(spec: IndexSpec) -> None:
    vectors, queries = clustered(3000, DIMENSION, 17), prepare(clustered(20, DIMENSION, 18), spec.metric)
    for ours, theirs in zip(
        build_index(spec, vectors).search(queries, 10), reloaded(spec, vectors).search(queries, 10), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_one_thread_builds_the_same_bytes_every_time(spec: IndexSpec) -> None:
    vectors = clustered(2000, DIMENSION, 19)
    assert build_index(spec, vectors).dump() == build_index(spec, vectors).dump()


def test_vectors_come_back_as_they_were_prepared(spec: IndexSpec) -> None:
    vectors = clustered(1500, DIMENSION, 20)
    index = reloaded(spec, vectors)
    prepared = prepare(vectors, spec.metric)
    wanted = np.array([1499, 0, 7, 7], dtype=np.int64)
    np.testing.assert_array_equal(index.vectors(wanted), prepared[wanted])
    np.testing.assert_array_equal(index.block(100, 300), prepared[100:300])
    assert index.vectors(wanted[:0]).shape == (0, DIMENSION)


def test_searches_from_many_threads_agree(spec: IndexSpec) -> None:
    vectors, queries = clustered(3000, DIMENSION, 21), prepare(clustered(25, DIMENSION, 22), spec.metric)
    index = build_index(spec, vectors)
    expected = index.search(queries, 10)[0]
    wrong: list[int] = []

    def search(number: int) -> None:
        for _ in range(4):
            if not np.array_equal(index.search(queries, 10)[0], expected):
                wrong.append(number)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_components_that_are_not_finite_are_refused(spec: IndexSpec, bad: float) -> None:
    vectors = clustered(10, DIMENSION, 23)
    vectors[6, 3] = bad
    with pytest.raises(ValueError, match="row 6"):
        build_index(spec, vectors)


def test_wrong_dimension_is_refused(spec: IndexSpec) -> None:
    with pytest.raises(ValueError, match=str(DIMENSION)):
        build_index(spec, clustered(10, DIMENSION + 1, 24))


@pytest.mark.parametrize("blob", [b"", b"not an index at all", bytes(4000)])
def test_foreign_bytes_are_refused(kind: str, blob: bytes) -> None:
    if kind == "flat" and blob == b"":
        pytest.skip("a flat index has no bytes of its own")
    with pytest.raises(ValueError):
        index_class(kind).load(blob, prepare(clustered(60, DIMENSION, 25), "l2"), "l2")


def test_errors_for_an_unknown_kind_or_metric_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="flat, hnsw, ivf"):
        index_class("annoy")
    with pytest.raises(ValueError, match="flat, hnsw, ivf"):
        check_spec(IndexSpec("", "l2", 4))
    with pytest.raises(ValueError, match="cosine, dot, l2"):
        check_spec(IndexSpec("flat", "ip", 4))
    with pytest.raises(ValueError, match="dimension 0"):
        check_spec(IndexSpec("flat", "l2", 0))
