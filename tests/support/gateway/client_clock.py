"""A clock for clients that moves only while they pause."""

from __future__ import annotations

import asyncio

REAL_SLEEP = asyncio.sleep


class Clock:
    """Time that advances only while a client pauses."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def sleep_in_loop(self, seconds: float) -> None:
        self.now_s += seconds
        await REAL_SLEEP(0)
