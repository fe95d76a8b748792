"""Wakes whatever waits for a change; each waiter then checks its own condition again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """A stream of changes without content. Belongs to one event loop."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """Set at the next change. Take it before checking a condition, so that no change in between is missed."""
        return self._next

    def announce(self) -> None:
        """Something has changed."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds. It is checked now and after every change."""
        while True:
            change = self._next
            if condition():
                return
            await change.wait()
