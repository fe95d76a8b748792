"""Coverage and freshness of an answer."""

from __future__ import annotations

import pytest

from shoal.cluster.gateway.paths.coverage import Freshness, coverage_of, shortfall
from shoal.cluster.ledger.records import CollectionRecord, CollectionSettings, Cut, GenerationRecord, ShardCut
from shoal.v1 import search_pb2

GENERATION = GenerationRecord(11, 1, "papers", 3, "active", "m", "f", 4, "flat", "cosine", 2)
COLLECTION = CollectionRecord(1, "papers", CollectionSettings("m", 4, "flat", "cosine", 2), 9, 0, GENERATION)


def cut(pending: int = 0, oldest: int | None = None, failed: int = 0) -> Cut:
    shards = [ShardCut(0, "w", 10, 4, 2, 1, 1), ShardCut(1, "w", 30, 5, 0, 0, 0)]
    return Cut(COLLECTION, GENERATION, shards, pending, failed, oldest, False)


def test_coverage_counts_what_was_reached_in_its_newest_version() -> None:
    whole = coverage_of(cut(pending=3, failed=1), set(), Freshness(3, 50))
    assert (whole.known, whole.reachable, whole.shards, whole.shards_reached) == (40, 37, 2, 2)
    assert (whole.pending, whole.lag_ms, whole.failed, whole.generation) == (3, 50, 1, 3)
    part = coverage_of(cut(), {1}, Freshness(0, 0))
    assert (part.known, part.reachable, part.shards_reached) == (40, 7, 1)


def test_a_shard_whose_documents_all_wait_reaches_none() -> None:
    # A document that waits and failed before is counted by both.
    waiting = [ShardCut(0, "w", 3, 0, 3, 0, 1), ShardCut(1, "w", 3, 0, 3, 0, 0), ShardCut(2, "w", 3, 0, 2, 0, 0)]
    whole = coverage_of(Cut(COLLECTION, GENERATION, waiting, 8, 1, 0, False), set(), Freshness(8, 0))
    assert (whole.known, whole.reachable) == (9, 1)


def test_freshness() -> None:
    assert Freshness.of(cut(), 500) == Freshness(0, 0)
    assert Freshness.of(cut(2, 450), 500) == Freshness(2, 50)
    # Nothing is behind when nothing is pending, and nothing is known of the age of what was pending a moment ago.
    assert Freshness.of(cut(0, 450), 500) == Freshness(0, 0)
    assert Freshness.of(cut(2, None), 500) == Freshness(2, 0)
    # A clock that was set back must not give a negative age.
    assert Freshness.of(cut(2, 600), 500) == Freshness(2, 0)
    assert Freshness(2, 10).worse(Freshness(1, 30)) == Freshness(2, 30)


def test_stale_hits_count_as_pending_though_they_were_embedded_meanwhile() -> None:
    assert Freshness(0, 0).with_stale(3, 20) == Freshness(3, 20)
    assert Freshness(5, 90).with_stale(3, 20) == Freshness(5, 90)
    assert Freshness(3, 5).with_stale(3, 20) == Freshness(3, 5)
    assert Freshness(0, 0).with_stale(-1, 20) == Freshness(0, 0)


@pytest.mark.parametrize(
    ("reachable", "known", "least", "enough"),
    [(9, 10, 0.9, True), (8, 10, 0.9, False), (0, 0, 1.0, True), (0, 10, 0.0, True), (999_999, 1_000_000, 1.0, True)],
)
def test_shortfall(reachable: int, known: int, least: float, enough: bool) -> None:
    sent = search_pb2.SearchRequest(min_coverage=least).min_coverage
    said = shortfall(search_pb2.Coverage(known=known, reachable=reachable), sent)
    assert (said == "") is enough


def test_a_shortfall_names_what_was_reached() -> None:
    coverage = search_pb2.Coverage(known=10, reachable=8, shards=3, shards_reached=2)
    assert shortfall(coverage, 0.9) == ("min_coverage: 8 of 10 documents can be reached (2 of 3 shards), 0.9 is required")
