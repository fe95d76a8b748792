"""Watches ledger, storage and their disks, so that `Status` and the log say what is wrong before anybody misses a write."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.replicas import ReplicaCalls
from shoal.cluster.decisions.health.problems import Observation, Problem, Volume, find_problems
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.workers.runtime import error_line

log = logging.getLogger(__name__)

CHECK_EVERY_S = 0.5
ANSWER_S = 3.0
"""A ledger that does not answer within this time has a problem."""


class ProblemWatch:
    """Belongs to the coordinator's event loop."""

    def __init__(
        self,
        ledger: LedgerAccess,
        replicas: ReplicaCalls,
        storage_folder: str,
        try_write: Callable[[], Awaitable[None]],
        changed: Callable[[], object],
        ledger_returned: Callable[[], Awaitable[None]],
    ) -> None:
        """`storage_folder` is empty for an object store. `try_write` writes something to the ledger, and raises nothing.

        `changed` is called after every change of `problems`; `ledger_returned` when the ledger can be written again after
        writes that failed: it may have committed them.
        """
        self.problems: tuple[Problem, ...] = ()
        self._ledger = ledger
        self._replicas = replicas
        self._storage_folder = storage_folder
        self._try_write = try_write
        self._changed = changed
        self._ledger_returned = ledger_returned
        self._checking: asyncio.Task[Observation] | None = None

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            try:
                await self.check()
            except Exception:
                # Whatever is wrong with the ledger, this loop must outlive it.
                log.exception("ledger and storage could not be checked")
            await asyncio.sleep(CHECK_EVERY_S)

    async def check(self) -> None:
        """Looks once."""
        if self._checking is None:
            self._checking = asyncio.create_task(asyncio.to_thread(self._observe))
        # A thread that waits for a database server cannot be interrupted: its answer is awaited in the next rounds too.
        checking = self._checking
        await asyncio.wait({checking}, timeout=ANSWER_S)
        if checking.done():
            # Forgotten first: if it has failed, the next round looks again.
            self._checking = None
            seen = checking.result()
        else:
            seen = Observation(ledger_check=f"no answer for {ANSWER_S:g} s")
        threads = self._ledger.threads
        if threads.failed_write and not seen.ledger_check:
            await self._try_write()
        seen = replace(seen, ledger_write=threads.failed_write, storage_write=self._replicas.failed_storage)
        before, self.problems = self.problems, find_problems(seen, self.problems, wall_clock_ms())
        if self.problems != before:
            self._report(before)
        if threads.uncertain and not seen.ledger_check and not seen.ledger_write:
            threads.uncertain = False
            await self._ledger_returned()

    def _report(self, before: tuple[Problem, ...]) -> None:
        for problem in self.problems:
            if problem not in before:
                log.warning("problem: %s: %s", problem.part, problem.message)
        left = {problem.part for problem in self.problems}
        for problem in before:
            if problem.part not in left:
                log.warning("solved: %s: %s", problem.part, problem.message)
        self._changed()

    def _observe(self) -> Observation:
        ledger_check = ""
        try:
            self._ledger.progress.check()
        except LedgerUnreadable as error:
            ledger_check = error.place_and_reason
        return Observation(
            ledger_check=ledger_check,
            ledger_volume=_volume(self._ledger.progress.folder),
            storage_volume=_volume(self._storage_folder),
        )


def _volume(folder: str) -> Volume | None:
    if not folder:
        return None
    try:
        found = os.statvfs(folder)
    except OSError as error:
        log.debug("folder %s: %s", folder, error_line(error))
        return Volume(folder, exists=False)
    # The superuser may use what is reserved for it.
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return Volume(folder, read_only=bool(found.f_flag & os.ST_RDONLY), free_bytes=blocks * found.f_frsize)
