"""Retries of calls to processes that may be restarting or moving."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shoal.cluster.errors import DeadlineExceeded, Unavailable
from shoal.cluster.rpc.deadlines import Deadline

T = TypeVar("T")

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.25


async def retry_until(
    deadline: Deadline,
    attempt: Callable[[], Awaitable[T]],
    wait: Callable[[float], Awaitable[object]],
    peer: str,
    patience: Deadline | None = None,
) -> T:
    """Retries `attempt` while it raises Unavailable, with growing pauses.

    `wait(seconds)` is one pause; it may return earlier, for example when there is a new route. Raises the last
    Unavailable when `patience` (or else `deadline`) leaves no time for another attempt, and DeadlineExceeded with the
    name of `peer` when `deadline` passes during the first attempt.
    """
    until = deadline.earlier(patience)
    pause = FIRST_PAUSE_S
    failure: Unavailable | None = None
    try:
        async with asyncio.timeout_at(deadline.at):
            while True:
                try:
                    return await attempt()
                except Unavailable as error:
                    failure = error
                if until.remaining_s <= pause:
                    raise failure
                await wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
    except TimeoutError:
        if failure is not None:
            raise failure from None
        raise DeadlineExceeded(f"{peer} did not answer in time") from None
