"""What the gateway counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.gateway.backends.counts import GatewayCounts, Histogram


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
