"""Deadlines of calls. A deadline is a time on the event loop's clock, so it can be passed on and compared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

# Reserved for sending the answer, so that "partial" and "unavailable" arrive before the caller's time is up.
_ANSWER_SHARE = 0.1
_ANSWER_S = 0.05
_LEAST_CALL_S = 0.001


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time on the running event loop's clock, in seconds."""

    at: float

    @classmethod
    def within(cls, seconds: float) -> Deadline:
        """`seconds` from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left; below 0 when it has passed."""
        return self.at - asyncio.get_running_loop().time()

    @property
    def timeout_s(self) -> float:
        """Seconds left as a timeout for a call; never 0, which gRPC would read as no timeout."""
        return max(_LEAST_CALL_S, self.remaining_s)

    def earlier(self, other: Deadline | None) -> Deadline:
        """The earlier of the two; None is no deadline."""
        return self if other is None or self.at <= other.at else other

    def with_margin(self) -> Deadline:
        """A little earlier, so that the answer still reaches the caller in time."""
        return Deadline(self.at - min(_ANSWER_S, max(0.0, self.remaining_s) * _ANSWER_SHARE))
