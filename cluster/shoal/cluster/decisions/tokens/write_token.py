"""Tokens: which writes a search must see. Pure: text in, writes out, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_RANGES = 16
"""A token has at most this many ranges, so at most 700 bytes: each number has at most 18 digits."""
_NUMBER = "[0-9]{1,18}"
_RANGE = rf"{_NUMBER}(?:-{_NUMBER})?"
_PREFIX = re.compile(rf"({_NUMBER})\.({_NUMBER})")
_RANGES = re.compile(rf"({_NUMBER}):((?:{_RANGE}(?:,{_RANGE})*)?)")


@dataclass(frozen=True, slots=True)
class WriteToken:
    """Writes of one collection, by their sequence numbers.

    Its text is `<collection>:<ranges>`, such as `7:12` or `7:12-18,25`; `7:` names no write. The older form
    `<collection>.<sequence>` names every write of the collection up to that one, whoever made it.
    """

    collection_id: int
    ranges: tuple[tuple[int, int], ...] = ()
    """First and last sequence number of each run of writes: ascending, and never adjacent."""
    through: int = 0
    """Every write up to this one, as in a token of the older form."""

    @classmethod
    def of(cls, collection_id: int, *sequences: int) -> WriteToken:
        """The token of single writes."""
        return cls(collection_id, _joined((sequence, sequence) for sequence in sequences))

    @classmethod
    def parse(cls, text: str) -> WriteToken | None:
        """The token with this text; None for a text that is no token."""
        if found := _PREFIX.fullmatch(text):
            return cls(int(found[1]), (), int(found[2]))
        found = _RANGES.fullmatch(text)
        if found is None:
            return None
        ranges: list[tuple[int, int]] = []
        for one in filter(None, found[2].split(",")):
            first, _, last = one.partition("-")
            ranges.append((int(first), int(last or first)))
        if len(ranges) > MAX_RANGES or any(first > last for first, last in ranges):
            return None
        return cls(int(found[1]), _joined(ranges))

    def __str__(self) -> str:
        if self.through:
            # Only this form names everything up to a write. It cannot leave out the writes between `through` and a range.
            return f"{self.collection_id}.{self.newest}"
        ranges = (f"{first}" if first == last else f"{first}-{last}" for first, last in self.ranges)
        return f"{self.collection_id}:{','.join(ranges)}"

    @property
    def newest(self) -> int:
        """The newest write it names; 0 if it names none."""
        return max(self.through, self.ranges[-1][1] if self.ranges else 0)

    def merged(self, other: WriteToken) -> WriteToken:
        """A token of all writes of both. Of two collections the newer one counts: it has replaced the other under its name.

        Where there would be too many ranges, the nearest are joined. Then the token also names writes between them.
        """
        if other.collection_id != self.collection_id:
            return max(self, other, key=lambda token: token.collection_id)
        through = max(self.through, other.through)
        kept = [(max(first, through + 1), last) for first, last in (*self.ranges, *other.ranges) if last > through]
        return WriteToken(self.collection_id, _joined(kept), through)


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same numbers in at most MAX_RANGES ranges, ascending and not adjacent; numbers in small gaps may be added."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    while len(found) > MAX_RANGES:
        # Of equal gaps the oldest is closed: its writes are the likeliest to be shown already.
        at = min(range(1, len(found)), key=lambda index: found[index][0] - found[index - 1][1])
        found[at - 1 : at + 1] = [(found[at - 1][0], found[at][1])]
    return tuple(found)
