"""Finds ids that come more than once, and says so. Takes about 32 bytes for each id however long it is. No I/O."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from hashlib import blake2b

REMEMBERED = 1 << 24
"""Ids that are remembered, which bounds memory to less than a gigabyte."""
_SHOWN = 5
_FIRST_SLOTS = 1 << 10


class RepeatedIds:
    """Remembers ids by 64 bits of a hash, so that two different ones are taken for the same once in 10^19 pairs.

    After `most` different ones no others are remembered.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._hashes = array("Q", bytes(8 * _FIRST_SLOTS))
        self._positions = array("Q", bytes(8 * _FIRST_SLOTS))
        self._count = 0

    def earlier(self, id: str, position: int) -> int | None:
        """The position that the same id had when it came last, None when it is new; from now on it has `position`."""
        if 2 * self._count >= len(self._hashes) and not self.full:
            self._grow()
        # 0 marks an empty slot.
        hashed = int.from_bytes(blake2b(id.encode(), digest_size=8).digest()) or 1
        slot = self._slot(hashed)
        known = self._positions[slot] if self._hashes[slot] else None
        if known is None and self.full:
            return None
        self._count += known is None
        self._hashes[slot], self._positions[slot] = hashed, position
        return known

    @property
    def full(self) -> bool:
        """Whether no more ids are remembered."""
        return self._count >= self._most

    def _slot(self, hashed: int) -> int:
        mask = len(self._hashes) - 1
        slot = hashed & mask
        while self._hashes[slot] not in (0, hashed):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        hashes, positions = self._hashes, self._positions
        self._hashes, self._positions = array("Q", bytes(16 * len(hashes))), array("Q", bytes(16 * len(hashes)))
        for hashed, position in zip(hashes, positions, strict=True):
            if hashed:
                slot = self._slot(hashed)
                self._hashes[slot], self._positions[slot] = hashed, position


class RepeatedIdNotes:
    """What is said of ids that come more than once: where the first ones are, and how many there are."""

    def __init__(self, location: Callable[[int], str], first: str, all_of_them: str, most: int = REMEMBERED) -> None:
        """`location` names the row at a position. The rest are the words of the messages: what the later row is to the first
        one, and what becomes of both."""
        self._ids = RepeatedIds(most)
        self._location = location
        self._first, self._all = first, all_of_them
        self._most = most
        self._examples: list[str] = []
        self.count = 0
        """Rows whose id came before."""

    def add(self, id: str, position: int) -> None:
        """The id of the row at the next position."""
        earlier = self._ids.earlier(id, position)
        if earlier is None:
            return
        self.count += 1
        if self.count <= _SHOWN:
            self._examples.append(f"{self._location(position)}: id {id!r} {self._first} {self._location(earlier)}")

    def lines(self) -> list[str]:
        """The messages; none if no id came twice and all were remembered."""
        lines = list(self._examples)
        if self.count:
            rows = "1 row had" if self.count == 1 else f"{self.count} rows had"
            lines.append(f"{rows} the id of an earlier row{self._all}")
        if self._ids.full:
            lines.append(f"only the first {self._most:,} different ids were compared with later ones")
        return lines
