"""The query cache against a plain dictionary with an order, over any history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.gateway.backends.query_cache import EncodedText, QueryCache, QueryKey, cost
from shoal.workers.encoding.model import AS_DOCUMENT, AS_QUERY, EncodeOptions

KEYS = st.builds(
    QueryKey,
    st.sampled_from(["f", "g"]),
    st.sampled_from([AS_QUERY, AS_DOCUMENT, EncodeOptions(prompt="find: ")]),
    st.sampled_from(["", "a", "é", "x" * 3000]),
)
VALUES = st.builds(EncodedText, st.sampled_from([b"1234", b"v" * 4096]), st.integers(0, 9), st.booleans())
STEPS = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=60)


@given(STEPS, st.integers(0, 20_000), st.integers(0, 5))
def test_the_cache_holds_the_last_used_entries_that_fit(
    steps: list[tuple[QueryKey, EncodedText | None]], limit_bytes: int, limit_entries: int
) -> None:
    cache = QueryCache(limit_bytes, limit_entries)
    held: dict[QueryKey, EncodedText] = {}
    hits = misses = 0
    for key, value in steps:
        if value is None:
            found = cache.get(key)
            assert found == held.get(key)
            if found is None:
                misses += 1
            else:
                hits += 1
                held[key] = held.pop(key)
        else:
            cache.put(key, value)
            if cost(key, value) <= limit_bytes and limit_entries:
                held.pop(key, None)
                held[key] = value
                while sum(cost(*entry) for entry in held.items()) > limit_bytes or len(held) > limit_entries:
                    del held[next(iter(held))]
        figures = cache.stats()
        assert (figures.hits, figures.misses) == (hits, misses)
        assert figures.entries == len(cache) == len(held) <= limit_entries
        assert figures.bytes == sum(cost(*entry) for entry in held.items()) <= limit_bytes
    assert {key: cache.get(key) for key, _ in steps} == {key: held.get(key) for key, _ in steps}


def test_another_fingerprint_is_another_key() -> None:
    cache = QueryCache(10_000, 10)
    cache.put(QueryKey("f", AS_QUERY, "a"), EncodedText(b"1234", 1, False))
    assert cache.get(QueryKey("g", AS_QUERY, "a")) is None
    assert cache.get(QueryKey("f", EncodeOptions(role=AS_QUERY.role, prompt=""), "a")) is None
    assert cache.get(QueryKey("f", EncodeOptions(role=AS_QUERY.role), "a")) is not None


def test_a_disabled_cache_keeps_nothing() -> None:
    for cache in (QueryCache(0, 10), QueryCache(10_000, 0)):
        cache.put(QueryKey("f", AS_QUERY, "a"), EncodedText(b"1234", 1, False))
        assert len(cache) == 0 and cache.stats().limit_bytes == 0
    for limits in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="query cache limits must be at least 0"):
            QueryCache(*limits)
