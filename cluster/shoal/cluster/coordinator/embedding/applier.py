"""Takes vectors the last steps: a segment at the worker, one commit in the ledger, visible. Encoding is done elsewhere."""

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
"""So that documents which a worker refuses, with its disk full for one, are not embedded again and again at once."""


class Applier:
    """Applies rows of one generation, in rounds: what arrives during a round goes together in the next.

    `settled` is told the ids of every round, applied or not: what was not is still pending in the ledger, and told late.
    """

    def __init__(
        self,
        generation: int,
        keeper: ShardKeeper,
        ledger: LedgerAccess,
        settled: Callable[[Sequence[str]], None],
    ) -> None:
        self._generation = generation
        self._keeper = keeper
        self._ledger = ledger
        self._settled = settled
        self._rows: list[ShardRow] = []
        self._some = asyncio.Event()

    def put(self, rows: Sequence[ShardRow]) -> None:
        """Hands over rows; at most one per document may be on its way."""
        self._rows.extend(rows)
        if self._rows:
            self._some.set()

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            await self._some.wait()
            rows, self._rows = self._rows[:ROWS_PER_COMMIT], self._rows[ROWS_PER_COMMIT:]
            if not self._rows:
                self._some.clear()
            whole = False
            try:
                whole = await self._round(rows)
            finally:
                ids = [row.document.id for row in rows]
                if whole:
                    self._settled(ids)
                else:
                    asyncio.get_running_loop().call_later(PAUSE_S, self._settled, ids)

    async def _round(self, rows: Sequence[ShardRow]) -> bool:
        """Applies rows as far as their shards can take them; False when some could not be applied."""
        by_shard: dict[int, list[ShardRow]] = defaultdict(list)
        for row in rows:
            by_shard[row.document.shard].append(row)
        shards = [shard for shard in self._keeper.of(self._generation) if shard.number in by_shard]
        async with AsyncExitStack() as locks:
            # In order of number, so that two rounds can never wait for each other.
            for shard in shards:
                await locks.enter_async_context(shard.lock)
            try:
                return await self._commit(shards, by_shard)
            except OrdinalTaken as error:
                log.warning("%s", error)
                return False
            except BaseException:
                # The ledger went away: it may name the segments by now, and nothing is pending that would show them later.
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
            # A commit that was thought lost had gone through: read where the ledger really is.
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
            # Committed, so nothing is lost: the keeper shows it when the worker is back.
            self._keeper.mark_stale(shard)
            log.info("%s", error)
