"""The graph index: hnswlib behind VectorIndex, which hides its pitfalls: throwing queries, unsaved ef, equal vectors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import hnswlib
import numpy as np

from shoal.workers.indexing.kinds.distinct import Distinct
from shoal.workers.indexing.kinds.scan import Candidates, padded, ranked, scan
from shoal.workers.indexing.metric import Floats, Ints

M = 16
EF_CONSTRUCTION = 200
EF_SEARCH = 128
_SEED = 100
_EXACT_ROWS = 1024
"""Up to this many rows a scan is as fast as the graph, and exact."""


class HnswIndex:
    """See VectorIndex. Equal vectors share one node: thousands of copies would otherwise cut others off the graph."""

    def __init__(self, graph: hnswlib.Index, distinct: Distinct, metric: str) -> None:
        self._graph = graph
        self._distinct = distinct
        self._metric = metric
        # ef belongs to the index, not to the query, so it is set once here and never during searches; it is not saved
        # in the file either.
        self._graph.set_ef(EF_SEARCH)
        self._graph.set_num_threads(1)

    @classmethod
    def build(cls, vectors: Floats, metric: str, threads: int = 1) -> Self:
        """See VectorIndex."""
        distinct = Distinct.of(vectors)
        graph = _new_graph(vectors.shape[1], metric)
        nodes = len(distinct.first_rows)
        graph.init_index(max(1, nodes), M=M, ef_construction=EF_CONSTRUCTION, random_seed=_SEED)
        if nodes:
            graph.add_items(vectors[distinct.first_rows], np.arange(nodes), num_threads=threads)
        return cls(graph, distinct, metric)

    @classmethod
    def load(cls, blob: bytes | memoryview, vectors: Floats, metric: str) -> Self:
        """See VectorIndex; the blob is each row's node as int64, then hnswlib's file."""
        size = len(vectors) * 8
        if len(blob) < size:
            raise ValueError(f"hnsw blob has {len(blob)} bytes, fewer than {size} for {len(vectors)} rows")
        distinct = Distinct.from_nodes(np.frombuffer(blob[:size], dtype="<i8").astype(np.int64))
        graph = _new_graph(vectors.shape[1], metric)
        nodes = len(distinct.first_rows)
        with _temporary_path() as path:
            with open(path, "wb") as file:
                file.write(blob[size:])
            try:
                graph.load_index(path, max_elements=max(1, nodes))
            except RuntimeError as error:
                raise ValueError(f"hnsw blob is not a graph: {error}") from None
        if graph.get_current_count() != nodes:
            raise ValueError(f"hnsw blob has {graph.get_current_count()} nodes, expected {nodes}")
        return cls(graph, distinct, metric)

    def dump(self) -> bytes:
        """See VectorIndex."""
        with _temporary_path() as path:
            self._graph.save_index(path)
            with open(path, "rb") as file:
                return self._distinct.node_of_row.astype("<i8").tobytes() + file.read()

    def __len__(self) -> int:
        return len(self._distinct.node_of_row)

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """See VectorIndex."""
        nodes = len(self._distinct.first_rows)
        # hnswlib's beam is max(ef, k): asking for twice as many keeps the recall up when k outgrows ef.
        beam = k if 2 * k <= EF_SEARCH else 2 * k
        if nodes <= _EXACT_ROWS or 8 * beam > nodes:
            return self._exact(queries, k)
        try:
            labels, _ = self._graph.knn_query(queries, k=beam, num_threads=1)
        except RuntimeError:
            # hnswlib throws for the whole batch when one query reaches fewer than k nodes.
            return self._exact(queries, k)
        found: list[Candidates] = []
        for query, near in zip(queries, labels.astype(np.int64), strict=True):
            rows = self._distinct.expand(near, k)
            found.append(ranked(query, self.vectors(rows), rows, self._metric))
        return padded(found, k)

    def _exact(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        return padded(scan(self.block, len(self), queries, k, self._metric), k)

    def vectors(self, rows: Ints) -> Floats:
        """See VectorIndex."""
        if len(rows) == 0:
            return np.empty((0, self._graph.dim), dtype=np.float32)
        return np.asarray(self._graph.get_items(self._distinct.node_of_row[rows]), dtype=np.float32)

    def block(self, start: int, stop: int) -> Floats:
        """See VectorIndex."""
        return self.vectors(np.arange(start, stop))


def _new_graph(dimension: int, metric: str) -> hnswlib.Index:
    # Under cosine the rows are of unit length already, and hnswlib's own cosine would divide them once more.
    return hnswlib.Index(space="l2" if metric == "l2" else "ip", dim=dimension)


@contextmanager
def _temporary_path() -> Iterator[str]:
    """A path of an empty file, since hnswlib reads and writes nothing but files."""
    handle, path = tempfile.mkstemp(prefix="shoal-hnsw-")
    os.close(handle)
    try:
        yield path
    finally:
        os.unlink(path)
