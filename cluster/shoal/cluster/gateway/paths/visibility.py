"""Waits until searches show a write."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.errors import DeadlineExceeded, ModelNotServed, Overloaded, Unavailable
from shoal.cluster.gateway.backends.index_shards import IndexShards, Shown
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.validation import check_token, parse_token
from shoal.cluster.ledger.records import Cut, GenerationRecord
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ModelId, ShardId

FIRST_POLL_S = 0.005
LONGEST_POLL_S = 0.05
# A wait is at most about a quarter longer than it had to be.
_POLL_GROWTH = 1.25
UNSERVED_S = 0.5
"""A write that is still pending after this long, and whose model cannot be served, needs that model. Removals, and documents
that came with a vector, do not."""
_ASK_S = 2.0
_NOTHING = Shown(0, 0)


class WriteVisibility:
    """Waits for the writes of tokens, and for nothing else that is pending. What to wait for is decided in
    `decisions/tokens/awaited_writes.py`."""

    def __init__(self, reads: LedgerReads, index_shards: IndexShards, view: RoutingView) -> None:
        self._reads = reads
        self._index_shards = index_shards
        self._view = view

    async def cut(self, collection: str, token: str, deadline: Deadline) -> Cut:
        """A cut taken after the writes of the token, if any, have been committed to the shards or have failed for good.

        Raises InvalidRequest for a token that is not of this collection, DeadlineExceeded when a write is still pending, and
        ModelNotServed when one stays pending because the collection's model cannot be served.
        """
        if not token:
            return await self._reads.cut(collection)
        return (await self._committed(collection, token, deadline))[0]

    async def until_shown(self, collection: str, token: str, deadline: Deadline) -> AwaitedWrites:
        """Returns when searches show the writes of the token, except the documents that have failed for good.

        Raises DeadlineExceeded and ModelNotServed, whose messages say that the write is committed.
        """
        committed = f"the write is committed (token {token}), but search does not show it yet"
        try:
            async with asyncio.timeout_at(deadline.at):
                while True:
                    cut, awaited = await self._committed(collection, token, deadline)
                    # False: files were lost after the cut was taken, and the write may have been in them.
                    if await self._shows(cut, awaited):
                        return awaited
        except (DeadlineExceeded, TimeoutError):
            raise DeadlineExceeded(committed) from None
        except ModelNotServed as error:
            raise ModelNotServed(f"{committed}: {error.message}", retry_after_ms=error.retry_after_ms) from None

    async def _committed(self, collection: str, token: str, deadline: Deadline) -> tuple[Cut, AwaitedWrites]:
        awaited = AwaitedWrites(parse_token(token))
        before: Cut | None = None
        while True:
            cut = await self._reads.cut(collection, awaited)
            check_token(token, collection, cut.collection.id, cut.collection.sequence)
            if before is not None and _damage(before) != _damage(cut):
                # What was committed may be pending again.
                awaited, before = AwaitedWrites(awaited.token), None
            elif cut.token_pending:
                before = before or cut
                await self._until_committed(cut.generation, awaited, deadline)
            else:
                return cut, awaited

    async def _until_committed(self, generation: GenerationRecord, awaited: AwaitedWrites, deadline: Deadline) -> None:
        pause = FIRST_POLL_S
        patience = Deadline.within(UNSERVED_S)
        pending = True
        while pending:
            if deadline.remaining_s <= pause:
                token = str(awaited.token)
                raise DeadlineExceeded(f"token {token}: search does not show this write yet", field="token", value=token)
            if patience.remaining_s <= 0:
                self._check_served(generation)
            # Otherwise the token has too many writes to be read at once, and there are more to read now.
            if not awaited.wants_sets:
                await self._view.change(pause)
                pause = min(_POLL_GROWTH * pause, LONGEST_POLL_S)
            pending = await self._reads.writes_pending(generation.id, awaited)

    def _check_served(self, generation: GenerationRecord) -> None:
        outage = self._view.table.outage(ModelId(generation.model, generation.fingerprint))
        if outage is not None:
            raise ModelNotServed(outage.reason, field="token", retry_after_ms=outage.retry_after_ms)

    async def _shows(self, cut: Cut, awaited: AwaitedWrites) -> bool:
        """True once the shards of the awaited documents show them; False as soon as one has lost files since the cut."""
        generation = cut.generation.id
        damage = {ShardId(generation, shard.number): shard.damage_count for shard in cut.shards}
        through = {shard.number: shard.through for shard in cut.shards} if awaited.all_shards else awaited.ordinals
        behind = {ShardId(generation, number): ordinal for number, ordinal in through.items() if ordinal}
        pause = FIRST_POLL_S
        while True:
            shown = await _shown_of(self._index_shards, self._view, behind)
            if any(shown[shard].damage_count > damage[shard] for shard in behind):
                return False
            behind = {shard: ordinal for shard, ordinal in behind.items() if shown[shard].through < ordinal}
            if not behind:
                return True
            await self._view.change(pause)
            pause = min(_POLL_GROWTH * pause, LONGEST_POLL_S)


def _damage(cut: Cut) -> list[tuple[int, int, int]]:
    """Changes when documents that were committed may have to be committed again."""
    return [(cut.generation.id, shard.number, shard.damage_count) for shard in cut.shards]


async def _shown_of(index_shards: IndexShards, view: RoutingView, shards: Collection[ShardId]) -> dict[ShardId, Shown]:
    """What searches see in each of the shards; nothing where the worker cannot be reached."""
    locations = view.table.shards
    addresses = sorted({locations[shard].address for shard in shards if shard in locations})
    answers = await asyncio.gather(*(_shown(index_shards, address) for address in addresses))
    shown = dict(zip(addresses, answers, strict=True))
    return {
        shard: shown[locations[shard].address].get(shard, _NOTHING) if shard in locations else _NOTHING for shard in shards
    }


async def _shown(index_shards: IndexShards, address: str) -> dict[ShardId, Shown]:
    try:
        return await index_shards.shown(address, Deadline.within(_ASK_S))
    except (Unavailable, DeadlineExceeded, Overloaded):
        return {}
