"""Waiting until searches show a write."""

from __future__ import annotations

import asyncio

from shoal.cluster.errors import DeadlineExceeded, Overloaded, Unavailable
from shoal.cluster.gateway.backends import Backends
from shoal.cluster.gateway.deadlines import Deadline
from shoal.cluster.gateway.ledger_reads import LedgerReads
from shoal.cluster.gateway.routing_view import RoutingView
from shoal.cluster.gateway.validation import check_token, parse_token
from shoal.cluster.ledger.records import Cut
from shoal.cluster.routing import ShardId

FIRST_POLL_S = 0.005
LONGEST_POLL_S = 0.05
_ASK_S = 2.0


async def cut_showing(reads: LedgerReads, collection: str, token: str, deadline: Deadline) -> Cut:
    """A cut taken after everything up to the token, if there is one, has been committed to the shards.

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
    reads: LedgerReads, backends: Backends, view: RoutingView, collection: str, token: str, deadline: Deadline
) -> None:
    """Returns when every shard shows what was committed up to the token.

    Raises DeadlineExceeded, which says that the write stands.
    """
    try:
        cut = await cut_showing(reads, collection, token, deadline)
        behind = {ShardId(cut.generation.id, shard.number): shard.through for shard in cut.shards if shard.through}
        pause = FIRST_POLL_S
        async with asyncio.timeout_at(deadline.at):
            while behind := await _still_behind(backends, view, behind):
                await view.change(pause)
                pause = min(2 * pause, LONGEST_POLL_S)
    except (DeadlineExceeded, TimeoutError):
        message = f"the write stands (token {token}), but search does not show it yet"
        raise DeadlineExceeded(message) from None


async def _still_behind(backends: Backends, view: RoutingView, behind: dict[ShardId, int]) -> dict[ShardId, int]:
    """The shards that do not show their segment yet; one whose worker cannot be asked is among them."""
    places = view.table.shards
    addresses = sorted({places[shard].address for shard in behind if shard in places})
    answers = await asyncio.gather(*(_shown(backends, address) for address in addresses))
    shown = dict(zip(addresses, answers, strict=True))
    return {
        shard: through
        for shard, through in behind.items()
        if shard not in places or shown.get(places[shard].address, {}).get(shard, 0) < through
    }


async def _shown(backends: Backends, address: str) -> dict[ShardId, int]:
    try:
        return await backends.shown(address, Deadline.within(_ASK_S))
    except (Unavailable, DeadlineExceeded, Overloaded):
        return {}
