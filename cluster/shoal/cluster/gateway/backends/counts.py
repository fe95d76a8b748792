"""Counters of a gateway's own work. They are always kept; `metrics` exports them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """Counts values in buckets; each bound is the inclusive upper end of a bucket."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of all values."""

    def add(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[int]:
        """For each bound, the number of values at or below it; the last entry counts all values."""
        return list(accumulate(self._counts))


class GatewayCounts:
    """Counts since the gateway process started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """Completed public calls, by method ("Embed") and status ("OK")."""
        self.seconds: dict[str, Histogram] = {}
        """Their durations, by method."""
        self.in_flight = 0
        self.embedded_texts: Counter[str] = Counter()
        """Texts that Embed and EmbedStream answered with a vector, by role ("query", "document")."""
        self.embedded_tokens: Counter[str] = Counter()
        self.failed_texts = 0
        """Texts that these methods answered with an error."""
        self.encode_queries = Histogram(ITEMS)
        """Queries in each batched call to an encoder."""
        self.shard_queries = Histogram(ITEMS)
        """Queries in each batched call to a shard."""

    def ended(self, method: str, status: str, seconds: float) -> None:
        """Counts a completed public call."""
        self.requests[method, status] += 1
        histogram = self.seconds.get(method)
        if histogram is None:
            histogram = self.seconds[method] = Histogram(SECONDS)
        histogram.add(seconds)

    def embedded(self, role: str, texts: int, tokens: int, failed: int) -> None:
        """Counts one answered embedding request."""
        self.embedded_texts[role] += texts - failed
        self.embedded_tokens[role] += tokens
        self.failed_texts += failed
