"""What the gateway counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.gateway.backends.counts import GatewayCounts, Histogram
from shoal.cluster.gateway.backends.index_shards import HITS_PER_CALL, queries_at_once


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100), min_size=1, unique=True).map(sorted))
def test_a_histogram_counts_up_to_and_including_each_bound(values: list[float], bounds: list[float]) -> None:
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    wanted = [sum(value <= bound for value in values) for bound in bounds]
    assert histogram.cumulative() == [*wanted, len(values)]
    assert histogram.total == sum(values)


def test_calls_and_texts_are_counted_apart() -> None:
    counts = GatewayCounts()
    counts.ended("Embed", "OK", 0.01)
    counts.ended("Embed", "CANCELLED", 2.0)
    counts.ended("Search", "OK", 0.01)
    counts.embedded("query", 3, 12, 1)
    counts.embedded("document", 5, 50, 0)
    assert counts.requests == {("Embed", "OK"): 1, ("Embed", "CANCELLED"): 1, ("Search", "OK"): 1}
    assert counts.seconds["Embed"].cumulative()[-1] == 2
    assert (counts.embedded_texts, counts.embedded_tokens, counts.failed_texts) == (
        {"query": 2, "document": 5},
        {"query": 12, "document": 50},
        1,
    )


@pytest.mark.parametrize(("k", "queries"), [(1, 256), (10, 256), (128, 256), (129, 254), (1000, 32), (40_000, 1)])
def test_a_shared_call_to_a_shard_has_a_bounded_number_of_hits(k: int, queries: int) -> None:
    assert queries_at_once(k, 256) == queries
    assert k * queries <= max(k, HITS_PER_CALL)
