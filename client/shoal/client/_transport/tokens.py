"""Merges the tokens of several writes. Their text is described in documents.proto, at UpsertResponse."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import reduce

MAX_RANGES = 16
_TOKEN = re.compile(r"([0-9]+):((?:[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)*)?)")
_PREFIX = re.compile(r"([0-9]+)\.([0-9]+)")


def merged(one: str, other: str) -> str:
    """A token of all writes that two tokens name; the newer collection's if they are of two.

    Where there would be more than MAX_RANGES ranges, the nearest are joined. Then it also names writes between them.
    """
    if not one or not other:
        return one or other
    first, second = _parsed(one), _parsed(other)
    if first is None or second is None:
        # Of a server that this client does not know.
        return other
    if first[0] != second[0]:
        return one if first[0] > second[0] else other
    if _PREFIX.fullmatch(one) and _PREFIX.fullmatch(other):
        return one if first[1][-1] > second[1][-1] else other
    ranges: list[tuple[int, int]] = []
    for low, high in sorted(first[1] + second[1]):
        if ranges and low <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(high, ranges[-1][1])
        else:
            ranges.append((low, high))
    while len(ranges) > MAX_RANGES:
        at = min(range(1, len(ranges)), key=lambda index: ranges[index][0] - ranges[index - 1][1])
        ranges[at - 1 : at + 1] = [(ranges[at - 1][0], ranges[at][1])]
    return f"{first[0]}:" + ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def merged_all(tokens: Iterable[str]) -> str:
    """One token of the writes that all tokens name; empty for none.

    Raises ValueError for several of which one cannot be read, or which are of different collections.
    """
    given = [token for token in tokens if token]
    if len(given) < 2:
        return given[0] if given else ""
    collections: set[int] = set()
    for token in given:
        parsed = _parsed(token)
        if parsed is None:
            raise ValueError(f"token {token!r} cannot be merged with others: this client does not know its form")
        collections.add(parsed[0])
    if len(collections) > 1:
        raise ValueError("the tokens are of writes to different collections")
    return reduce(merged, given)


def _parsed(token: str) -> tuple[int, list[tuple[int, int]]] | None:
    """The collection and the ranges of writes."""
    if found := _PREFIX.fullmatch(token):
        # An older form: everything up to a write.
        return int(found[1]), [(1, int(found[2]))]
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    ends = [one.partition("-")[::2] for one in found[2].split(",") if one]
    return int(found[1]), [(int(low), int(high or low)) for low, high in ends]
