"""Detects work that has stalled: it takes so long that it will never end. Pure; the caller polls and acts on the result."""

from __future__ import annotations

from dataclasses import dataclass

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


def was_suspended(waited_s: float, interval_s: float) -> bool:
    """Whether the process itself was stopped, frozen or starved of CPU: a wait of `interval_s` took `waited_s`.

    The work was suspended too, so its elapsed time means nothing yet. Work that really hangs is found by the next check.
    """
    return waited_s > _LATE * interval_s


class Watchdog:
    """Keeps the current work of each thread."""

    def __init__(self, limits: StallLimits) -> None:
        self.limits = limits
        self._works: dict[int, _Work] = {}

    def begin(self, thread: int, what: str, now: float, expected_s: float) -> None:
        """A thread begins work; `what` describes it in the error message."""
        self._works[thread] = _Work(what, now, expected_s)

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
