"""What an answer is based on: how much of the collection was reached, and how far search lags behind the ledger. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from shoal.cluster.ledger.records import Cut
from shoal.v1 import search_pb2

# The least share arrives as float32: 0.9 of 10 documents must mean 9.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far search lags behind the ledger."""

    pending: int
    lag_ms: int

    @classmethod
    def of(cls, cut: Cut, now_ms: int) -> Freshness:
        """The freshness at the moment of a cut."""
        oldest = cut.oldest_changed_at_ms
        return cls(cut.pending, 0 if oldest is None or not cut.pending else max(0, now_ms - oldest))

    def worse(self, other: Freshness) -> Freshness:
        """The larger value of each field."""
        return Freshness(max(self.pending, other.pending), max(self.lag_ms, other.lag_ms))

    def with_stale(self, stale: int, since_ms: int) -> Freshness:
        """Raises `pending` to at least `stale`, and then the lag to at least `since_ms`."""
        if stale <= self.pending:
            return self
        return Freshness(stale, max(self.lag_ms, since_ms))


def coverage_of(cut: Cut, lost: Set[int], freshness: Freshness) -> search_pb2.Coverage:
    """The coverage of an answer from all shards of the cut except the `lost` ones."""
    reached = [shard for shard in cut.shards if shard.number not in lost]
    return search_pb2.Coverage(
        known=sum(shard.documents for shard in cut.shards),
        reachable=sum(max(0, shard.documents - shard.pending_documents - shard.failed) for shard in reached),
        pending=freshness.pending,
        lag_ms=freshness.lag_ms,
        failed=cut.failed,
        generation=cut.generation.number,
        shards=len(cut.shards),
        shards_reached=len(reached),
    )


def shortfall(coverage: search_pb2.Coverage, least: float) -> str:
    """Why the coverage is below the required share, in one line; empty if it is not."""
    if coverage.reachable >= coverage.known * (least - _ROUNDING):
        return ""
    return (
        f"min_coverage: {coverage.reachable} of {coverage.known} documents can be reached"
        f" ({coverage.shards_reached} of {coverage.shards} shards), {least:g} is required"
    )
