"""Group commit with a ledger that the test holds: how many bytes wait, and how many share a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from shoal.cluster.coordinator.group_commit import BYTES_PER_COMMIT, GroupCommit
from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.decisions.memory.byte_budget import BudgetLimits
from shoal.cluster.errors import Overloaded
from shoal.cluster.ledger.records import WriteBatch, WriteOutcome

MIB = 1024 * 1024


class Ledger:
    """Commits nothing; every commit waits until the test lets it go."""

    def __init__(self) -> None:
        self.threads = self.writer = self
        self.commits: list[int] = []
        self.gate = asyncio.Semaphore(0)

    async def write(self, _write: Any, batches: Sequence[WriteBatch], _now_ms: int) -> list[WriteOutcome]:
        self.commits.append(len(batches))
        await self.gate.acquire()
        return [WriteOutcome(1, 1, ()) for _ in batches]


class Embedders:
    def wake_collection(self, _collection_id: int) -> None: ...


def batch_of_mib(size: int) -> WriteBatch:
    return WriteBatch("papers", [Incoming("a", "x" * (size * MIB))])


def test_a_commit_stores_a_bounded_number_of_bytes_and_many_wait_outside() -> None:
    async def run() -> None:
        ledger = Ledger()
        limits = BudgetLimits(total=18 * MIB, small=MIB, small_share=2 * MIB, waiting=16 * MIB)
        writes = GroupCommit(cast(Any, ledger), cast(Any, Embedders()), limits)
        tasks = [asyncio.create_task(writes.write(batch_of_mib(3), 10)) for _ in range(10)]
        await asyncio.sleep(0)
        small = asyncio.create_task(writes.write(batch_of_mib(0), 10))
        await asyncio.sleep(0.01)
        # Five of the large ones are admitted, and five wait. The next one is refused.
        with pytest.raises(Overloaded, match=f"bytes of writes to the coordinator wait.*the limit of {16 * MIB}"):
            await writes.write(batch_of_mib(3), 10)
        for _ in range(10):
            ledger.gate.release()
        await asyncio.gather(*tasks, small)
        assert sum(ledger.commits) == 11 and max(ledger.commits) <= BYTES_PER_COMMIT // (3 * MIB) + 1
        # The small one was not behind those that waited outside.
        assert ledger.commits[:3] == [1, 2, 3]

    asyncio.run(run())
