"""A bounded LRU cache of query vectors, so that a repeated query costs no encoder call. Pure: it calls no encoder."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from shoal.workers.encoding import EncodeOptions

# Memory of an entry in addition to its text and vector: key, entry, hash table slots. Measured, rounded up.
ENTRY_BYTES = 512


class QueryKey(NamedTuple):
    """Everything that determines a query's vector. Models differ in fingerprint, so they never share an entry."""

    fingerprint: str
    options: EncodeOptions
    text: str


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The output of an encoder for one text."""

    vector: bytes
    """Packed little-endian float32."""
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class QueryCacheStats:
    """Counters since the cache was created, and its current size."""

    hits: int
    misses: int
    joined: int
    """Misses that waited for an encoding of the same text already in flight."""
    evicted: int
    entries: int
    bytes: int
    limit_bytes: int


class QueryCache:
    """Holds at most `limit_bytes` and `limit_entries`; evicts the least recently used entry first. A 0 disables it."""

    def __init__(self, limit_bytes: int, limit_entries: int) -> None:
        """Raises ValueError when a limit is below 0."""
        if limit_bytes < 0 or limit_entries < 0:
            raise ValueError(f"query cache limits must be at least 0, not {limit_bytes} bytes and {limit_entries} entries")
        self._limit_bytes = limit_bytes if limit_entries else 0
        self._limit_entries = limit_entries
        self._entries: OrderedDict[QueryKey, EncodedText] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._joined = self._evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: QueryKey) -> EncodedText | None:
        """Returns the entry and marks it as most recently used; None on a miss."""
        found = self._entries.get(key)
        if found is None:
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return found

    def put(self, key: QueryKey, encoded: EncodedText) -> None:
        """Adds or replaces an entry; an entry larger than the whole limit is not stored."""
        size = cost(key, encoded)
        if size > self._limit_bytes:
            return
        previous = self._entries.pop(key, None)
        if previous is not None:
            self._bytes -= cost(key, previous)
        self._entries[key] = encoded
        self._bytes += size
        while self._bytes > self._limit_bytes or len(self._entries) > self._limit_entries:
            oldest, gone = self._entries.popitem(last=False)
            self._bytes -= cost(oldest, gone)
            self._evicted += 1

    def note_joined(self) -> None:
        """Counts a miss that joined an encoding in flight."""
        self._joined += 1

    def stats(self) -> QueryCacheStats:
        """The current counters and size."""
        return QueryCacheStats(
            self._hits, self._misses, self._joined, self._evicted, len(self._entries), self._bytes, self._limit_bytes
        )


def cost(key: QueryKey, encoded: EncodedText) -> int:
    """The estimated memory of an entry in bytes."""
    prompt = key.options.prompt
    return ENTRY_BYTES + sys.getsizeof(key.text) + len(encoded.vector) + (sys.getsizeof(prompt) if prompt else 0)
