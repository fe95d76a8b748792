"""Tasks that run beside the calls of gateways, and end with the coordinator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class BackgroundTasks:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work whose failure is logged."""
        self._start(work).add_done_callback(_log_failure)

    async def finish(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Awaits work that goes on when the caller is cancelled, so that it is never left half done."""
        return await asyncio.shield(self._start(work))

    async def close(self) -> None:
        """Cancels everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task of the coordinator ended", exc_info=error)
