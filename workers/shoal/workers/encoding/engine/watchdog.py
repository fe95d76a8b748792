"""Detects work that has stalled: it takes so long that it will never end. Pure; the caller polls and acts on the result."""

from __future__ import annotations

from dataclasses import dataclass

_CHECKS_PER_STALL = 10
_LATE = 2.0


@dataclass(frozen=True, slots=True)
class StallLimits:
    """Work has stalled once it takes longer than both limits."""

    seconds: float = 60.0
    times: float = 20.0
    """Multiple of the expected time."""


@dataclass(slots=True)
class _Work:
    what: str
    began: float
    expected_s: float


class StallChecks:
    """When to ask a watchdog: every `interval_s`, unless the process itself was stopped, frozen or starved of CPU.

    The work was suspended too then, so its elapsed time means nothing yet. The next check finds work that really hangs.
    """

    def __init__(self, limits: StallLimits, now: float) -> None:
        self.interval_s = limits.seconds / _CHECKS_PER_STALL
        self._checked_at = now

    def due(self, now: float) -> bool:
        """Called after each wait of `interval_s`; False if the wait took much longer."""
        waited_s, self._checked_at = now - self._checked_at, now
        return waited_s <= _LATE * self.interval_s


class BatchTimes:
    """Compute times of batches: what a token has taken so far tells how long the next batch should take."""

    def __init__(self, first_s_per_token: float) -> None:
        """`first_s_per_token` is the estimate before the first batch has ended."""
        self._first_s_per_token = first_s_per_token
        self.tokens = 0
        self.busy_s = 0.0
        """Summed over the threads."""

    def add(self, tokens: int, spent_s: float) -> None:
        """A batch of `tokens` has ended."""
        self.tokens += tokens
        self.busy_s += spent_s

    def expected_s(self, tokens: int) -> float:
        """Expected compute time of a batch of `tokens`."""
        return tokens * (self.busy_s / self.tokens if self.tokens else self._first_s_per_token)


class Watchdog:
    """Keeps the current work of each thread."""

    def __init__(self, limits: StallLimits) -> None:
        self.limits = limits
        self._works: dict[int, _Work] = {}

    def begin(self, thread: int, what: str, now: float, expected_s: float) -> None:
        """A thread begins work; `what` describes it in the error message."""
        self._works[thread] = _Work(what, now, expected_s)

    def begin_batch(self, thread: int, texts: int, tokens: int, now: float, expected_s: float) -> None:
        """A thread begins to compute a batch."""
        self.begin(thread, f"a batch of {texts} texts with {tokens} tokens", now, expected_s)

    def end(self, thread: int) -> None:
        """The work of a thread has ended, successfully or not."""
        self._works.pop(thread, None)

    def stalled(self, now: float) -> str:
        """Describes stalled work in one line; empty if nothing has stalled."""
        for work in self._works.values():
            spent = now - work.began
            if spent > self.limits.seconds and spent > self.limits.times * work.expected_s:
                return f"{work.what} has taken {spent:.0f} s, expected {work.expected_s:.2g} s"
        return ""
