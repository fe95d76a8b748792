"""Makes vectors visible: a segment at the shard's worker, one commit in the ledger, a sync. Encoding is done elsewhere."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.coordinator.shards.served_shard import ServedShard, ShardUnreachable
from shoal.cluster.coordinator.shards.shards import ShardKeeper
from shoal.cluster.coordinator.wire import ShardRow, rows_message
from shoal.cluster.ledger.errors import OrdinalTaken
from shoal.cluster.ledger.records import Applied, SegmentCommit

log = logging.getLogger(__name__)

ROWS_PER_COMMIT = 4096
PAUSE_S = 0.5
"""Before documents that a worker refused, for example because its disk is full, are embedded again."""


class Applier:
    """Applies rows of one generation in rounds: what arrives during a round is applied together in the next.

    `released` is called with the ids of every round. Those that could not be applied are still pending in the ledger, and
    are released after a pause.
    """

    def __init__(
        self,
        generation: int,
        keeper: ShardKeeper,
        ledger: LedgerAccess,
        released: Callable[[Sequence[str]], None],
    ) -> None:
        self._generation = generation
        self._keeper = keeper
        self._ledger = ledger
        self._released = released
        self._rows: list[ShardRow] = []
        self._arrived = asyncio.Event()

    def put(self, rows: Sequence[ShardRow]) -> None:
        """Adds rows to the next round; at most one per document may be on its way."""
        self._rows.extend(rows)
        if self._rows:
            self._arrived.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._arrived.wait()
            rows, self._rows = self._rows[:ROWS_PER_COMMIT], self._rows[ROWS_PER_COMMIT:]
            if not self._rows:
                self._arrived.clear()
            complete = False
            try:
                complete = await self._round(rows)
            finally:
                ids = [row.document.id for row in rows]
                if complete:
                    self._released(ids)
                else:
                    asyncio.get_running_loop().call_later(PAUSE_S, self._released, ids)

    async def _round(self, rows: Sequence[ShardRow]) -> bool:
        """Applies the rows whose shards can take them; False when some could not be applied."""
        by_shard: dict[int, list[ShardRow]] = defaultdict(list)
        for row in rows:
            by_shard[row.document.shard].append(row)
        shards = [shard for shard in self._keeper.of(self._generation) if shard.number in by_shard]
        async with AsyncExitStack() as locks:
            # In the order of the shards, so that two rounds never wait for each other.
            for shard in shards:
                await locks.enter_async_context(shard.lock)
            try:
                return await self._commit(shards, by_shard)
            except OrdinalTaken as error:
                log.warning("%s", error)
                return False
            except BaseException:
                # The ledger may have committed the segments before the connection broke. Then nothing is pending that would
                # sync these shards later.
                for shard in shards:
                    self._keeper.mark_stale(shard)
                raise
            finally:
                for shard in shards:
                    shard.staged = ""

    async def _commit(self, shards: Sequence[ServedShard], by_shard: Mapping[int, Sequence[ShardRow]]) -> bool:
        staged = await asyncio.gather(*(self._stage(shard, by_shard[shard.number]) for shard in shards))
        commits = [commit for commit in staged if commit is not None]
        if not commits:
            return False
        try:
            await self._ledger.threads.write(self._ledger.progress.commit_segments, commits)
        except OrdinalTaken:
            # An earlier commit that seemed to fail had succeeded: read the ledger's ordinals.
            ordinals = await self._ledger.threads.read(self._ledger.progress.next_ordinals, self._generation)
            for shard in shards:
                shard.next_ordinal = ordinals.get(shard.number, shard.next_ordinal)
            raise
        done = {commit.shard for commit in commits}
        for shard in shards:
            if shard.number in done:
                shard.next_ordinal += 1
        await asyncio.gather(*(self._show(shard) for shard in shards if shard.number in done))
        return len(commits) == len(by_shard)

    async def _stage(self, shard: ServedShard, rows: Sequence[ShardRow]) -> SegmentCommit | None:
        try:
            segment = await self._keeper.stage(shard, rows_message(rows))
        except ShardUnreachable as error:
            log.info("%s", error)
            return None
        applied = [Applied(row.document.id, row.document.version, row.truncated) for row in rows]
        return SegmentCommit(self._generation, shard.number, segment, applied)

    async def _show(self, shard: ServedShard) -> None:
        try:
            await self._keeper.sync(shard)
        except ShardUnreachable as error:
            # The segment is committed: the keeper syncs the shard when a worker is back.
            self._keeper.mark_stale(shard)
            log.info("%s", error)
