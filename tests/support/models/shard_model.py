"""A shard modelled as a dictionary, and functions that make rows for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.shard import Hits
from support.models.indexes import true_scores

Row = tuple[str, int, Sequence[float] | None]
"""Id, version, and the vector or None for a deletion."""


def rows_from(rows: Sequence[Row], dimension: int) -> Rows:
    """In the form of a segment."""
    vectors = [vector for _, _, vector in rows if vector is not None]
    return Rows(
        [document_id for document_id, _, _ in rows],
        np.array([version for _, version, _ in rows], dtype=np.int64),
        np.array([vector is None for _, _, vector in rows], dtype=np.bool_),
        np.array(vectors, dtype=np.float32).reshape(-1, dimension),
    )


@dataclass
class ShardModel:
    """The newest row of every id, deletions among them."""

    metric: str
    rows: dict[str, Row]

    def apply(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row[0] not in self.rows or self.rows[row[0]][1] < row[1]:
                self.rows[row[0]] = row

    def versions(self, ids: Sequence[str]) -> list[int]:
        return [self.rows[one][1] if one in self.rows and self.rows[one][2] is not None else 0 for one in ids]

    def check(self, hits: Hits, query: Sequence[float], k: int) -> None:
        """Asserts that `hits` answer this one query: the right scores, versions, number and order."""
        live = sorted((row for row in self.rows.values() if row[2] is not None), key=lambda row: row[0])
        vectors = np.array([row[2] for row in live], dtype=np.float32).reshape(-1, len(query))
        scores = true_scores(vectors, np.array([query], dtype=np.float32), self.metric)[0]
        best = sorted(range(len(live)), key=lambda position: -scores[position])[:k]
        assert hits.counts == [len(best)]
        np.testing.assert_allclose(hits.scores, scores[best], rtol=1e-5, atol=1e-6)
        by_id = {row[0]: (row[1], scores[position]) for position, row in enumerate(live)}
        assert len(set(hits.ids)) == len(hits.ids)
        for document_id, version, score in zip(hits.ids, hits.versions, hits.scores, strict=True):
            assert by_id[document_id][0] == version
            assert abs(by_id[document_id][1] - score) < 1e-5
        order = [(-score, document_id) for score, document_id in zip(hits.scores, hits.ids, strict=True)]
        assert order == sorted(order)
        if self.metric != "cosine":
            # Small whole numbers: scores are exact, so the tie at the k-th place is too.
            assert hits.ids == [live[position][0] for position in best]
