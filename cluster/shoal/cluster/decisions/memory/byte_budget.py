"""How many bytes of messages a process holds at once, and whose message is next. Pure: tickets stand for messages.

- A message of at most `small` bytes is *small*. `small_share` is reserved for small messages, so they never wait for
  large ones while there is room in it. Small messages use more than that only while no large one waits.
- Large messages share the rest. The caller that holds the fewest bytes is next, then the one that came first; nobody
  overtakes the next one, so a very large message is not kept waiting by smaller ones.
- A message larger than the whole share is admitted alone.
- Messages that wait are in memory too: when more than `waiting` bytes of a class wait, the next one is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

MIB = 1024 * 1024


class Verdict(Enum):
    """What happens to a message."""

    ADMITTED = "admitted"
    WAITING = "waiting"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """All in bytes."""

    total: int = 96 * MIB
    small: int = MIB
    """Up to this size a message is small."""
    small_share: int = 16 * MIB
    """Part of `total` that large messages cannot have."""
    waiting: int = 256 * MIB
    """How much may wait, of small messages and of large ones each."""

    def __post_init__(self) -> None:
        if not 0 < self.small <= self.small_share < self.total or self.waiting < 0:
            raise ValueError(f"{self}: must be 0 < small <= small_share < total, and waiting at least 0")

    @property
    def large_share(self) -> int:
        """What large messages share."""
        return self.total - self.small_share


@dataclass(slots=True)
class _Message:
    caller: str
    size: int
    small: bool


class ByteBudget:
    """Belongs to one thread. A ticket is used for one message: `ask`, then perhaps `shrink`, then `free`."""

    def __init__(self, limits: BudgetLimits) -> None:
        self.limits = limits
        self.small_held = self.large_held = 0
        """Bytes of admitted messages."""
        self.small_waiting = self.large_waiting = 0
        """Bytes of messages that wait."""
        self._held: dict[int, _Message] = {}
        # In order of arrival.
        self._small_line: dict[int, _Message] = {}
        self._large_line: dict[int, _Message] = {}
        self._by_caller: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes of all admitted messages."""
        return self.small_held + self.large_held

    @property
    def waiting(self) -> int:
        """Bytes of all messages that wait."""
        return self.small_waiting + self.large_waiting

    def ask(self, ticket: int, caller: str, size: int) -> Verdict:
        """Asks for room for a message of `size` bytes; raises ValueError for a ticket in use or a size below 0."""
        if size < 0 or ticket in self._held or ticket in self._small_line or ticket in self._large_line:
            raise ValueError(f"ticket {ticket} is in use, or {size} bytes are below 0")
        message = _Message(caller, size, size <= self.limits.small)
        line = self._small_line if message.small else self._large_line
        if not line and self._fits(message):
            self._admit(ticket, message)
            return Verdict.ADMITTED
        if line and (self.small_waiting if message.small else self.large_waiting) + size > self.limits.waiting:
            return Verdict.REFUSED
        line[ticket] = message
        self._count_waiting(message, size)
        return Verdict.WAITING

    def shrink(self, ticket: int, size: int) -> list[int]:
        """An admitted message turned out to have `size` bytes, no more than it asked for; returns who is admitted now."""
        message = self._held[ticket]
        if not 0 <= size <= message.size:
            raise ValueError(f"ticket {ticket} holds {message.size} bytes and cannot shrink to {size}")
        self._count_held(message, size - message.size)
        message.size = size
        return self._advance()

    def free(self, ticket: int) -> list[int]:
        """A message is gone, whether it was admitted or waits; returns who is admitted now. A free ticket stays free."""
        message = self._held.pop(ticket, None)
        if message is not None:
            self._count_held(message, -message.size)
        else:
            message = self._small_line.pop(ticket, None) or self._large_line.pop(ticket, None)
            if message is None:
                return []
            self._count_waiting(message, -message.size)
        return self._advance()

    def _advance(self) -> list[int]:
        admitted: list[int] = []
        while self._large_line:
            ticket = min(self._large_line, key=lambda one: self._by_caller[self._large_line[one].caller])
            if not self._fits(self._large_line[ticket]):
                break
            message = self._large_line.pop(ticket)
            self._count_waiting(message, -message.size)
            self._admit(ticket, message)
            admitted.append(ticket)
        while self._small_line:
            ticket = next(iter(self._small_line))
            if not self._fits(self._small_line[ticket]):
                break
            message = self._small_line.pop(ticket)
            self._count_waiting(message, -message.size)
            self._admit(ticket, message)
            admitted.append(ticket)
        return admitted

    def _fits(self, message: _Message) -> bool:
        limits = self.limits
        if message.small:
            if self.small_held + message.size <= limits.small_share:
                return True
            return not self._large_line and self.held + message.size <= limits.total
        used = self.large_held + max(0, self.small_held - limits.small_share)
        return not used or used + message.size <= limits.large_share

    def _admit(self, ticket: int, message: _Message) -> None:
        self._held[ticket] = message
        self._count_held(message, message.size)

    def _count_held(self, message: _Message, size: int) -> None:
        self._by_caller[message.caller] += size
        if not self._by_caller[message.caller]:
            del self._by_caller[message.caller]
        if message.small:
            self.small_held += size
        else:
            self.large_held += size

    def _count_waiting(self, message: _Message, size: int) -> None:
        if message.small:
            self.small_waiting += size
        else:
            self.large_waiting += size
