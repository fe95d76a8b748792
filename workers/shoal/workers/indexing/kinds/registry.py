"""The kinds of index by name, each imported on first use, because hnswlib and faiss are heavy."""

from __future__ import annotations

from importlib import import_module

import numpy.typing as npt

from shoal.workers.indexing.kinds.vector_index import VectorIndex
from shoal.workers.indexing.manifest import IndexSpec
from shoal.workers.indexing.metric import check_metric, prepare

_CLASSES = {"flat": "flat_index:FlatIndex", "hnsw": "hnsw_index:HnswIndex", "ivf": "ivf_index:IvfIndex"}

KINDS = tuple(_CLASSES)


def index_class(kind: str) -> type[VectorIndex]:
    """The class of a kind; raises ValueError listing the kinds when there is none of that name."""
    if kind not in _CLASSES:
        raise ValueError(f"index kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    module, name = _CLASSES[kind].split(":")
    return getattr(import_module(f"shoal.workers.indexing.kinds.{module}"), name)


def check_spec(spec: IndexSpec) -> IndexSpec:
    """Returns `spec`; raises ValueError when its kind or metric is unknown or its dimension is below 1."""
    if spec.kind not in _CLASSES:
        raise ValueError(f"index kind {spec.kind!r} is unknown; use one of {', '.join(KINDS)}")
    check_metric(spec.metric)
    if spec.dimension < 1:
        raise ValueError(f"dimension {spec.dimension} is below 1")
    return spec


def build_index(spec: IndexSpec, vectors: npt.ArrayLike, threads: int = 1) -> VectorIndex:
    """An index over `vectors` (n, dim), prepared here; raises ValueError naming the row that is not finite."""
    check_spec(spec)
    return index_class(spec.kind).build(prepare(vectors, spec.metric, spec.dimension), spec.metric, threads)
