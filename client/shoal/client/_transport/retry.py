"""When a failed call is retried, and with which error it ends. Reads no clock; the clients wait."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from shoal.client.errors import ShoalError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, for calls that find the server unavailable."""

    first_pause_s: float = 0.05
    """Upper bound of the first pause; it doubles with each further pause."""
    longest_pause_s: float = 2.0
    patience_s: float = math.inf
    """No attempt starts this long after the first, even if the deadline is later. 0: never retry."""

    def pause_s(
        self, attempt: int, elapsed_s: float, remaining_s: float, rng: Random, at_least_s: float = 0.0
    ) -> float | None:
        """How long to wait after failed attempt `attempt` (from 1), or None to give up.

        `at_least_s` is what the server asked for. The pause always ends before the deadline that is `remaining_s` away.
        """
        # The cap keeps the power from overflowing; 2**30 first pauses are longer than any bound.
        bound_s = min(self.longest_pause_s, self.first_pause_s * 2 ** min(attempt - 1, 30))
        pause_s = max(at_least_s, rng.uniform(0.0, bound_s))
        if pause_s >= remaining_s or elapsed_s + pause_s >= self.patience_s:
            return None
        return pause_s


class Attempts:
    """The attempts to get one answer within `bound_s`; the caller makes them and reads the clock."""

    def __init__(self, policy: RetryPolicy, rng: Random, bound_s: float, now_s: float) -> None:
        self._policy = policy
        self._rng = rng
        self._bound_s = bound_s
        self._began_s = now_s
        self._failed = 0
        self._last: ShoalError | None = None
        self._given_s = bound_s

    def remaining_s(self, now_s: float) -> float:
        """Seconds left; below 0 if the time is up."""
        return self._bound_s - (now_s - self._began_s)

    def pause_s(self, error: ShoalError, now_s: float) -> float | None:
        """How long to wait after an attempt that failed with a transient error, or None to give up with it."""
        self._failed += 1
        remaining_s = self.remaining_s(now_s)
        pause_s = self._policy.pause_s(
            self._failed, now_s - self._began_s, remaining_s, self._rng, error.retry_after_s or 0.0
        )
        if pause_s is not None:
            self._last, self._given_s = error, remaining_s - pause_s
        return pause_s

    def ended_by(self, late: ShoalError) -> ShoalError:
        """What to raise when the time is up during an attempt: `late`, or the transient error that took most of the time."""
        # A pause may end a millisecond before the deadline, and the attempt after it then says nothing about the server.
        # One that had most of the time found a server that is slow: an older "cannot reach" would mislead.
        if self._last is None or self._given_s > self._bound_s / 2:
            return late
        return self._last
