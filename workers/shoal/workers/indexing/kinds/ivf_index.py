"""The inverted-file index: faiss IVFFlat behind VectorIndex. A search looks at the lists nearest to the query."""

from __future__ import annotations

import math
from typing import Self

import faiss
import numpy as np

from shoal.workers.indexing.kinds.scan import Candidates, padded, ranked, scan
from shoal.workers.indexing.metric import Floats, Ints
from shoal.workers.runtime import first_error_line

LIST_LIMIT = 65536
_ROWS_PER_LIST = 39
"""Fewer training rows for each list than this and faiss warns that the lists are poor."""
_SAMPLE_PER_LIST = 128
_SEED = 1234


class IvfIndex:
    """See VectorIndex. The vectors are inside the lists; a direct map gives them back by row."""

    def __init__(self, lists: faiss.IndexIVFFlat, metric: str) -> None:
        self._lists = lists
        self._metric = metric
        self._lists.make_direct_map()

    @classmethod
    def build(cls, vectors: Floats, metric: str, threads: int = 1) -> Self:
        """See VectorIndex."""
        count, dimension = vectors.shape
        _set_threads(threads)
        list_count = max(1, min(int(4 * math.sqrt(count)), count // _ROWS_PER_LIST, LIST_LIMIT))
        if metric == "l2":
            lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, list_count, faiss.METRIC_L2)
        else:
            # Centroids are directions: with lengths of their own the longest would draw all rows to themselves.
            quantizer = faiss.IndexFlatIP(dimension)
            lists = faiss.IndexIVFFlat(quantizer, dimension, list_count, faiss.METRIC_INNER_PRODUCT)
            lists.cp.spherical = True
        lists.cp.seed = _SEED
        if count:
            # A random sample, never a prefix: rows come in the order of their ids.
            size = min(count, list_count * _SAMPLE_PER_LIST)
            sample = np.random.default_rng(_SEED).choice(count, size, replace=False)
            lists.train(np.ascontiguousarray(vectors[np.sort(sample)]))
            lists.add(vectors)
        return cls(lists, metric)

    @classmethod
    def load(cls, blob: bytes | memoryview, vectors: Floats, metric: str) -> Self:
        """See VectorIndex; the blob is faiss's own serialisation."""
        try:
            lists = faiss.deserialize_index(np.frombuffer(blob, dtype=np.uint8))
        except RuntimeError as error:
            raise ValueError(f"ivf blob is not an index: {first_error_line(error)}") from None
        if not isinstance(lists, faiss.IndexIVFFlat) or (lists.ntotal, lists.d) != vectors.shape:
            raise ValueError(f"ivf blob is not an index of {vectors.shape[0]} rows of {vectors.shape[1]}")
        return cls(lists, metric)

    def dump(self) -> bytes:
        """See VectorIndex."""
        return faiss.serialize_index(self._lists).tobytes()

    def __len__(self) -> int:
        return int(self._lists.ntotal)

    def search(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        """See VectorIndex."""
        wanted = min(k, len(self))
        probes = self._probes(wanted)
        if probes >= self._lists.nlist or len(queries) == 0:
            return self._exact(queries, k)
        _set_threads(1)
        # Given with the call: nprobe on the index itself would be shared by all threads.
        params = faiss.SearchParametersIVF()
        params.nprobe = probes
        _, near = self._lists.search(queries, wanted, params=params)
        found: list[Candidates] = []
        for query, places in zip(queries, near, strict=True):
            rows = places[places >= 0].astype(np.int64)
            if len(rows) < wanted:
                found += scan(self.block, len(self), query[None, :], k, self._metric)
            else:
                found.append(ranked(query, self.vectors(rows), rows, self._metric))
        return padded(found, k)

    def _probes(self, k: int) -> int:
        """Lists to look at: a tenth of them, no fewer than 16, and enough to hold k many times over."""
        lists = self._lists.nlist
        probes = max(16, lists // 10, math.ceil(8 * k * lists / max(1, len(self))))
        # Under dot a long vector far off can beat a short one near by, so the best are spread over more lists.
        return 2 * probes if self._metric == "dot" else probes

    def _exact(self, queries: Floats, k: int) -> tuple[Ints, Floats]:
        return padded(scan(self.block, len(self), queries, k, self._metric), k)

    def vectors(self, rows: Ints) -> Floats:
        """See VectorIndex."""
        if len(rows) == 0:
            return np.empty((0, self._lists.d), dtype=np.float32)
        return self._lists.reconstruct_batch(rows)

    def block(self, start: int, stop: int) -> Floats:
        """See VectorIndex."""
        return self.vectors(np.arange(start, stop))


def _set_threads(count: int) -> None:
    # OpenMP keeps this number for each calling thread, so it is set at every use; its default is all cores.
    faiss.omp_set_num_threads(count)
