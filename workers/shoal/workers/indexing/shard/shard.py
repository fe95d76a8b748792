"""A shard in memory: sealed part, delta and tombstones, with one writer and many readers. No disk, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shoal.workers.indexing.kinds.scan import NOTHING, Candidates, scan
from shoal.workers.indexing.manifest import IndexSpec
from shoal.workers.indexing.metric import Bools, Floats, Ints, prepare
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.delta import Delta
from shoal.workers.indexing.shard.draft import Draft
from shoal.workers.indexing.shard.sealed_part import NO_ROW, SealedPart


@dataclass(frozen=True, slots=True)
class Hits:
    """Answers of all queries one after another: query i has counts[i] entries, by falling score, then by id."""

    counts: list[int]
    ids: list[str]
    versions: list[int]
    scores: list[float]
    through: int
    damage_count: int


@dataclass(frozen=True, slots=True)
class ShardStats:
    """Counts of a shard's parts; `sealed_rows` and `delta_rows` include dead rows."""

    through: int
    live: int
    sealed_rows: int
    sealed_dead: int
    delta_rows: int
    segments: int
    damage_count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable state of a shard. A reader takes it once and uses it throughout."""

    spec: IndexSpec
    sealed: SealedPart | None
    sealed_alive: Bools
    """(sealed rows,): False where a newer segment replaced or deleted the row."""
    delta: Delta
    through: int
    segments: int
    damage_count: int = 0
    """That of the manifest this state was built from; see ManifestInfo."""

    @classmethod
    def empty(cls, spec: IndexSpec, sealed: SealedPart | None = None) -> Snapshot:
        """A shard that has only a sealed part, or nothing."""
        alive = np.ones(len(sealed.ids) if sealed else 0, dtype=np.bool_)
        return cls(spec, sealed, alive, Delta.empty(spec.dimension), sealed.through if sealed else 0, 0)

    def extended(self, segments: Sequence[tuple[int, Rows]], damage_count: int | None = None) -> Snapshot:
        """The state after these (ordinal, rows), in order, under the manifest's `damage_count` (None keeps the current one).

        Only the newest snapshot of a shard may be extended (see Delta). Raises ValueError for an ordinal out of order.
        """
        draft = Draft(self.spec, self.sealed, self.sealed_alive, self.delta)
        through = self.through
        for ordinal, rows in segments:
            if ordinal <= through:
                raise ValueError(f"segment {ordinal} comes after segment {through}")
            draft.apply(rows)
            through = ordinal
        alive, delta = draft.finish()
        damage_count = self.damage_count if damage_count is None else damage_count
        return Snapshot(self.spec, self.sealed, alive, delta, through, self.segments + len(segments), damage_count)

    def stats(self) -> ShardStats:
        """Counts of this state."""
        alive = int(np.count_nonzero(self.sealed_alive))
        return ShardStats(
            through=self.through,
            live=alive + int(np.count_nonzero(self.delta.alive)),
            sealed_rows=len(self.sealed_alive),
            sealed_dead=len(self.sealed_alive) - alive,
            delta_rows=self.delta.count,
            segments=self.segments,
            damage_count=self.damage_count,
        )

    def lookup(self, ids: Sequence[str]) -> list[int]:
        """The version of each id's live vector, 0 if it has none."""
        return [self._live_version(document_id) for document_id in ids]

    def vector(self, document_id: str) -> tuple[int, Floats | None]:
        """The version and the vector (dim,), as the metric prepares it, of a live document; 0 and None if it has none."""
        version = self._live_version(document_id)
        if version == 0:
            return 0, None
        held = self.delta.held.get(document_id)
        if held is not None:
            return version, self.delta.vectors[held.row]
        found = self.sealed.find(document_id) if self.sealed else None
        assert self.sealed is not None and found is not None
        return version, self.sealed.index.block(found[1], found[1] + 1)[0]

    def _live_version(self, document_id: str) -> int:
        held = self.delta.held.get(document_id)
        if held is not None:
            return 0 if held.row == NO_ROW else held.version
        found = self.sealed.find(document_id) if self.sealed else None
        return 0 if found is None or found[1] == NO_ROW else found[0]

    def search(self, queries: Floats, k: int) -> Hits:
        """The k nearest live documents of each query (q, dim); fewer only when fewer are live.

        Raises ValueError for k below 1 and for queries of another dimension or with components that are not finite.
        """
        if k < 1:
            raise ValueError(f"k {k} is below 1")
        prepared = prepare(queries, self.spec.metric, self.spec.dimension, "queries")
        newest = self.delta.search(prepared, k, self.spec.metric)
        oldest = self._search_sealed(prepared, k)
        hits = Hits([], [], [], [], self.through, self.damage_count)
        for near, far in zip(newest, oldest, strict=True):
            merged = self._merge(near, far)[:k]
            hits.counts.append(len(merged))
            hits.scores.extend(-score for score, _, _ in merged)
            hits.ids.extend(document_id for _, document_id, _ in merged)
            hits.versions.extend(version for _, _, version in merged)
        return hits

    def _search_sealed(self, queries: Floats, k: int) -> list[Candidates]:
        """The k nearest live sealed rows of each query, as the index finds them; all if there are fewer."""
        count, live = len(self.sealed_alive), int(np.count_nonzero(self.sealed_alive))
        if self.sealed is None or live == 0:
            return [NOTHING] * len(queries)
        index, wanted, dead = self.sealed.index, min(k, live), count - live
        if dead > live:
            # Sealing is overdue: fetching past that many dead rows would cost more than a scan.
            return scan(index.block, count, queries, wanted, self.spec.metric, self.sealed_alive)
        # Dead rows use up results: fetches 1.5 times the expected number of dead rows more, and 16.
        fetched = min(count, wanted + 16 + 3 * wanted * dead // (2 * live)) if dead else wanted
        rows, scores = index.search(queries, fetched)
        found: list[Candidates] = []
        for i in range(len(queries)):
            kept = np.flatnonzero((rows[i] >= 0) & self.sealed_alive[rows[i]])[:wanted]
            if len(kept) == wanted:
                found.append(Candidates(rows[i][kept], scores[i][kept]))
            else:
                # Too many dead rows around this query: only a scan finds all k live ones.
                query = queries[i : i + 1]
                found += scan(index.block, count, query, wanted, self.spec.metric, self.sealed_alive)
        return found

    def _merge(self, near: Candidates, far: Candidates) -> list[tuple[float, str, int]]:
        """(-score, id, version) of the delta's and the sealed part's candidates, best first. No id is in both."""
        versions: Ints = self.delta.versions
        entries = [
            (-score, self.delta.id_at(row), int(versions[row]))
            for row, score in zip(near.rows.tolist(), near.scores.tolist(), strict=True)
        ]
        if self.sealed is not None:
            sealed = self.sealed
            entries += [
                (-score, sealed.ids[row], int(sealed.versions[row]))
                for row, score in zip(far.rows.tolist(), far.scores.tolist(), strict=True)
            ]
        return sorted(entries)
