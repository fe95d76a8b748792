"""Finds ids that come more than once, in about 32 bytes for each id however long it is. No I/O."""

from __future__ import annotations

from array import array
from hashlib import blake2b

_FIRST_SLOTS = 1 << 10


class RepeatedIds:
    """Remembers ids by 64 bits of a hash, so that two different ones are taken for the same once in 10^19 pairs."""

    def __init__(self) -> None:
        self._hashes = array("Q", bytes(8 * _FIRST_SLOTS))
        self._positions = array("Q", bytes(8 * _FIRST_SLOTS))
        self._count = 0

    def earlier(self, id: str, position: int) -> int | None:
        """The position that the same id had when it came last, None when it is new; from now on it has `position`."""
        if 2 * self._count >= len(self._hashes):
            self._grow()
        # 0 marks an empty slot.
        hashed = int.from_bytes(blake2b(id.encode(), digest_size=8).digest()) or 1
        slot = self._slot(hashed)
        known = self._positions[slot] if self._hashes[slot] else None
        self._count += known is None
        self._hashes[slot], self._positions[slot] = hashed, position
        return known

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
