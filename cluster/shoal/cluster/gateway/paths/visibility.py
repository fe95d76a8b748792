"""Waits until searches show a write."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from shoal.cluster.errors import DeadlineExceeded, Overloaded, Unavailable
from shoal.cluster.gateway.backends.index_shards import IndexShards, Shown
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.validation import check_token, parse_token
from shoal.cluster.ledger.records import Cut
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ShardId

FIRST_POLL_S = 0.005
LONGEST_POLL_S = 0.05
_ASK_S = 2.0
_NOTHING = Shown(0, 0)


async def cut_showing(reads: LedgerReads, collection: str, token: str, deadline: Deadline) -> Cut:
    """A cut taken after everything up to the token, if any, has been committed to the shards.

    Raises InvalidRequest for a token that is not of this collection, DeadlineExceeded when the write is still pending.
    """
    if not token:
        return await reads.cut(collection)
    sequence = parse_token(token)[1]
    pause = FIRST_POLL_S
    while True:
        cut = await reads.cut(collection, sequence)
        check_token(token, collection, cut.collection.id, cut.collection.sequence)
        if not cut.token_pending:
            return cut
        pending = True
        while pending:
            if deadline.remaining_s <= pause:
                raise DeadlineExceeded(f"token {token}: search does not show this write yet", field="token", value=token)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL_S)
            pending = await reads.pending_through(cut.generation.id, sequence)


async def until_shown(
    reads: LedgerReads, index_shards: IndexShards, view: RoutingView, collection: str, token: str, deadline: Deadline
) -> None:
    """Returns when every shard shows what was committed up to the token.

    Raises DeadlineExceeded, whose message says that the write is committed.
    """
    try:
        async with asyncio.timeout_at(deadline.at):
            while not await _shows(index_shards, view, await cut_showing(reads, collection, token, deadline)):
                # Files were lost after the cut was taken, and the write may have been in them.
                pass
    except (DeadlineExceeded, TimeoutError):
        message = f"the write is committed (token {token}), but search does not show it yet"
        raise DeadlineExceeded(message) from None


async def _shows(index_shards: IndexShards, view: RoutingView, cut: Cut) -> bool:
    """True once all shards show the cut; False as soon as one has lost files since it was taken."""
    behind = {ShardId(cut.generation.id, shard.number): shard for shard in cut.shards if shard.through}
    pause = FIRST_POLL_S
    while True:
        shown = await _shown_of(index_shards, view, behind)
        if any(shown[shard].damage_count > wanted.damage_count for shard, wanted in behind.items()):
            return False
        behind = {shard: wanted for shard, wanted in behind.items() if shown[shard].through < wanted.through}
        if not behind:
            return True
        await view.change(pause)
        pause = min(2 * pause, LONGEST_POLL_S)


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
