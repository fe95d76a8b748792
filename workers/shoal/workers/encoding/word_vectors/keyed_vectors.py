"""Converts tables to gensim's KeyedVectors in memory, and back. gensim is imported only when needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.workers.encoding.word_vectors.word_table import WordTable
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError


def to_keyed_vectors(table: WordTable) -> Any:
    """A gensim.models.KeyedVectors with the table's words, vectors (copied) and counts, in the same order.

    Raises WordVectorError when gensim is not installed.
    """
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        raise WordVectorError(f"needs gensim (pip install 'gensim>=4'): {error}") from error
    keyed = KeyedVectors(table.vectors.shape[1])
    keyed.add_vectors(list(table.words), np.asarray(table.vectors))
    if table.counts is not None:
        keyed.allocate_vecattrs(["count"], [np.int64])
        keyed.expandos["count"][:] = table.counts
    return keyed


def from_keyed_vectors(keyed: Any) -> WordTable:
    """The table of a gensim.models.KeyedVectors, or of a model with one as `wv`; vectors are copied.

    Raises WordVectorError when `keyed` is something else, or is empty.
    """
    keyed = getattr(keyed, "wv", keyed)
    words, vectors = getattr(keyed, "index_to_key", None), getattr(keyed, "vectors", None)
    if words is None or vectors is None:
        raise WordVectorError(f"keyed vectors: is a {type(keyed).__name__}, expected KeyedVectors of gensim 4")
    if not len(words) or len(words) != len(vectors):
        raise WordVectorError(
            f"keyed vectors: {len(words)} words and {len(vectors)} vectors, expected equal numbers above 0"
        )
    counts = getattr(keyed, "expandos", {}).get("count")
    counts = None if counts is None else np.array(counts, dtype=np.int64)
    return WordTable(tuple(map(str, words)), np.array(vectors, dtype=np.float32), counts)
