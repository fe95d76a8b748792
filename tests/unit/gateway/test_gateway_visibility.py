"""Waiting until a write is shown, with cuts and shards that change at chosen moments."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites, ShownState, WriteSet
from shoal.cluster.errors import DeadlineExceeded
from shoal.cluster.gateway.backends.index_shards import IndexShards, Shown
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.visibility import WriteVisibility
from shoal.cluster.ledger.records import CollectionRecord, CollectionSettings, Cut, GenerationRecord, ShardCut
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import RoutingTable, ShardId, ShardLocation

GENERATION = GenerationRecord(11, 1, "papers", 3, "active", "m", "f", 1, "flat", "dot", 1)
COLLECTION = CollectionRecord(1, "papers", CollectionSettings("m", 1, "flat", "dot", 1), 9, 0, GENERATION)


def cut(through: int, damage_count: int = 0, pending: bool = False) -> Cut:
    shard = ShardCut(0, "w", 3, through, 0, 0, 0, damage_count)
    return Cut(COLLECTION, GENERATION, [shard], 0, 0, None, pending)


class World:
    """Cuts and what the worker shows, in the order of requests; the last of each stays. The only write is of one document,
    which is in the newest segment of each cut."""

    def __init__(self, cuts: list[Cut], shown: list[Shown | None]) -> None:
        self.cuts, self.states = cuts, shown
        self.pending_reads = 0
        self.table = RoutingTable(shards={ShardId(11, 0): ShardLocation("w:1", None)})

    async def cut(self, name: str, awaited: AwaitedWrites | None = None) -> Cut:
        await asyncio.sleep(0)
        found = self.cuts.pop(0) if len(self.cuts) > 1 else self.cuts[0]
        if awaited is not None and awaited.wants_sets:
            awaited.take_sets([WriteSet(9, (("a", 1),))], 9)
        if awaited is not None and not found.token_pending:
            awaited.take_states({"a": ShownState(1, 0, found.shards[0].through)})
        return found

    async def writes_pending(self, generation_id: int, awaited: AwaitedWrites) -> bool:
        self.pending_reads += 1
        return False

    async def shown(self, address: str, deadline: Deadline) -> dict[ShardId, Shown]:
        await asyncio.sleep(0)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {} if state is None else {ShardId(11, 0): state}

    async def change(self, longest_s: float) -> None:
        await asyncio.sleep(0)


def wait(world: World, within_s: float = 5, token: str = "1:9") -> AwaitedWrites:
    reads, index_shards, view = cast(LedgerReads, world), cast(IndexShards, world), cast(RoutingView, world)

    async def scenario() -> AwaitedWrites:
        visibility = WriteVisibility(reads, index_shards, view)
        return await visibility.until_shown("papers", token, Deadline.within(within_s))

    return asyncio.run(scenario())


def test_a_wait_includes_shards_that_are_behind_or_not_open() -> None:
    world = World([cut(5)], [None, Shown(4, 0), Shown(5, 0), Shown(0, 0)])
    wait(world)
    assert world.states == [Shown(0, 0)], "still asked after it was shown"


def test_a_shard_that_lost_files_since_the_cut_shows_nothing_of_it() -> None:
    # Segment 5 is shown, but one below it is not: the write counts as shown when what was lost is back.
    world = World([cut(5), cut(5, 1, pending=True), cut(6, 1)], [Shown(5, 1), Shown(5, 1), Shown(6, 1)])
    wait(world)
    assert (world.pending_reads, world.states, world.cuts) == (1, [Shown(6, 1)], [cut(6, 1)])


def test_a_wait_needs_only_the_shards_of_its_own_documents() -> None:
    other = ShardCut(1, "x", 3, 8, 0, 0, 0)
    world = World([replace(cut(5), shards=[cut(5).shards[0], other])], [Shown(5, 0)])
    assert wait(world).ordinals == {0: 5}
    # A token of an earlier release names other documents too, and this shard is not shown anywhere.
    with pytest.raises(DeadlineExceeded):
        wait(world, 0.05, token="1.9")


def test_files_lost_while_a_write_was_awaited_make_it_pending_again() -> None:
    world = World([cut(5, pending=True), cut(5, 1), cut(5, 1, pending=True), cut(6, 1)], [Shown(6, 1)])
    assert wait(world).ordinals == {0: 6}
    assert (world.pending_reads, world.cuts) == (2, [cut(6, 1)])


def test_losses_that_the_cut_knows_of_do_not_delay() -> None:
    wait(World([cut(5, 2)], [Shown(5, 2)]))


def test_a_write_that_is_never_shown_ends_with_the_deadline_and_says_that_it_is_stored() -> None:
    for world in (World([cut(5)], [Shown(4, 0)]), World([cut(5)], [Shown(5, 1)])):
        with pytest.raises(DeadlineExceeded, match=r"the write is committed \(token 1:9\), but search does not show it yet"):
            wait(world, 0.05)
