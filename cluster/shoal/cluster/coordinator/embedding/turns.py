"""Waits for turns at encoder replicas. Which batch may begin where is decided in `decisions/turns.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from shoal.cluster.coordinator.concurrency.changes import Changes
from shoal.cluster.coordinator.fleet.supervised_process import SupervisedProcess
from shoal.cluster.decisions.turns import Suspicion, Turns


class EncoderTurns:
    """Shared by all generations. Belongs to the coordinator's event loop."""

    def __init__(self, changes: Changes) -> None:
        """`changes` announces that other replicas are ready; turns that end are announced there too."""
        self._changes = changes
        self._turns = Turns()

    @asynccontextmanager
    async def acquire(
        self, ready: Callable[[], Sequence[SupervisedProcess]], size: int, alone: bool
    ) -> AsyncIterator[SupervisedProcess]:
        """Waits until one of the `ready` replicas can take a call; its turn ends with the block.

        `size`, at least 1, is what the call adds to the replica's work. With `alone`, no other call is in flight there.
        """
        suspicion = Suspicion() if alone else None
        name = ""
        try:
            while True:
                change = self._changes.next
                replicas = {one.member.name: one for one in ready()}
                name = self._turns.take(list(replicas), suspicion, size)
                if name:
                    break
                await change.wait()
            yield replicas[name]
        finally:
            if name:
                self._turns.end(name, size)
            if suspicion is not None:
                self._turns.drop(suspicion)
            if suspicion is not None or self._turns.waited_for:
                self._changes.announce()
