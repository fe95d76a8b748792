"""When a piece of work takes so long that it will never end. Pure; the engine asks, and says what is done about it."""

from __future__ import annotations

from dataclasses import dataclass

_LATE = 2.0


@dataclass(frozen=True, slots=True)
class StallLimits:
    """Work has stalled that takes longer than both."""

    seconds: float = 60.0
    times: float = 20.0
    """Of what it was expected to take."""


@dataclass(slots=True)
class _Work:
    what: str
    began: float
    expected_s: float


def stood_still(waited_s: float, interval_s: float) -> bool:
    """Whether the watcher itself was held up, which meant to wait `interval_s`: stopped, frozen, or without a processor.

    The work was held up with it, so its time says nothing yet. What really hangs still does at the next look.
    """
    return waited_s > _LATE * interval_s


class Watchdog:
    """Keeps what is being worked on, one piece for each thread."""

    def __init__(self, limits: StallLimits) -> None:
        self.limits = limits
        self._works: dict[int, _Work] = {}

    def begin(self, thread: int, what: str, now: float, expected_s: float) -> None:
        """A thread begins to work; `what` is for people to read."""
        self._works[thread] = _Work(what, now, expected_s)

    def end(self, thread: int) -> None:
        """The work of a thread has ended, one way or the other."""
        self._works.pop(thread, None)

    def stalled(self, now: float) -> str:
        """What has stalled, in one line; empty when all is well."""
        for work in self._works.values():
            spent = now - work.began
            if spent > self.limits.seconds and spent > self.limits.times * work.expected_s:
                return f"{work.what} takes {spent:.0f} s, {work.expected_s:.2g} s were expected"
        return ""
