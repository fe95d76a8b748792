"""Vectors of query texts, kept so that a repeated query costs no encoder call: a bounded LRU. Pure; who fills it is
elsewhere."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from shoal.workers.encoding import EncodeOptions

# What an entry costs besides its text and its vector: key, entry, their places in the table. Measured, rounded up.
ENTRY_BYTES = 512


class QueryKey(NamedTuple):
    """All that decides the vector of a query. Another model has another fingerprint, so it cannot be answered with this."""

    fingerprint: str
    options: EncodeOptions
    text: str


@dataclass(frozen=True, slots=True)
class EncodedText:
    """What an encoder made of one text."""

    vector: bytes
    """Packed little-endian float32."""
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class QueryCacheStats:
    """How a cache has fared since it was made."""

    hits: int
    misses: int
    joined: int
    """Misses that waited for the encoding of an equal text which was already under way."""
    evicted: int
    entries: int
    bytes: int
    limit_bytes: int


class QueryCache:
    """Holds at most `limit_bytes` and `limit_entries`; what was not asked for longest goes first. A 0 keeps nothing."""

    def __init__(self, limit_bytes: int, limit_entries: int) -> None:
        """Raises ValueError when a limit is below 0."""
        if limit_bytes < 0 or limit_entries < 0:
            raise ValueError(f"limits of a query cache are {limit_bytes} bytes and {limit_entries} entries, the least is 0")
        self._limit_bytes = limit_bytes if limit_entries else 0
        self._limit_entries = limit_entries
        self._entries: OrderedDict[QueryKey, EncodedText] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._joined = self._evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: QueryKey) -> EncodedText | None:
        """The entry, which then counts as asked for last; None is a miss."""
        found = self._entries.get(key)
        if found is None:
            self._misses += 1
            return None
        self._entries.move_to_end(key)
        self._hits += 1
        return found

    def put(self, key: QueryKey, encoded: EncodedText) -> None:
        """Keeps an entry in place of an equal key's; one that alone is above the limit is not kept."""
        size = cost(key, encoded)
        if size > self._limit_bytes:
            return
        former = self._entries.pop(key, None)
        if former is not None:
            self._bytes -= cost(key, former)
        self._entries[key] = encoded
        self._bytes += size
        while self._bytes > self._limit_bytes or len(self._entries) > self._limit_entries:
            oldest, gone = self._entries.popitem(last=False)
            self._bytes -= cost(oldest, gone)
            self._evicted += 1

    def note_joined(self) -> None:
        """Counts a miss that cost no encoding of its own."""
        self._joined += 1

    def stats(self) -> QueryCacheStats:
        """Counts and fill as they are now."""
        return QueryCacheStats(
            self._hits, self._misses, self._joined, self._evicted, len(self._entries), self._bytes, self._limit_bytes
        )


def cost(key: QueryKey, encoded: EncodedText) -> int:
    """Bytes of memory that an entry is counted with."""
    prompt = key.options.prompt
    return ENTRY_BYTES + sys.getsizeof(key.text) + len(encoded.vector) + (sys.getsizeof(prompt) if prompt else 0)
