"""The routing table as a value, and the view that keeps the youngest of them."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.rpc.routing import ModelId, RoutingTable, ShardId
from shoal.internal.v1 import coordinator_pb2


def message(epoch: int = 1, revision: int = 0) -> coordinator_pb2.WatchRoutingResponse:
    return coordinator_pb2.WatchRoutingResponse(epoch=epoch, revision=revision)


def test_a_message_is_read_into_lookups() -> None:
    said = message(2, 7)
    said.shards.add(address="a:1").key.generation = 5
    route = said.shards.add(address="b:1")
    route.key.generation, route.key.shard, route.stats.through = 5, 1, 9
    said.shards.add(address="").key.generation = 6
    said.encoders.add(model="m", fingerprint="f", address="c:1")
    said.encoders.add(model="m", fingerprint="f", address="d:1")
    said.encoders.add(model="m", fingerprint="g", address="e:1")
    said.encoders.add(model="n", fingerprint="h", address="")
    table = RoutingTable.from_message(said)
    assert table.age == (2, 7)
    assert table.shards[ShardId(5, 0)].stats is None
    state = table.shards[ShardId(5, 1)].stats
    assert state is not None and state.through == 9
    assert ShardId(6, 0) not in table.shards
    assert table.encoders[ModelId("m", "f")] == ("c:1", "d:1")
    assert set(table.encoders_named("m")) == {ModelId("m", "f"), ModelId("m", "g")}
    assert table.encoders_named("n") == {}
    assert table.addresses() == {"a:1", "b:1", "c:1", "d:1", "e:1"}


def test_a_draining_encoder_gets_no_new_work_but_keeps_its_connection() -> None:
    said = message(1, 1)
    said.encoders.add(model="m", fingerprint="f", address="a:1")
    said.encoders.add(model="m", fingerprint="f", address="b:1", draining=True)
    said.pools.add(model="m", wanted=1)
    table = RoutingTable.from_message(said)
    assert table.encoders == {ModelId("m", "f"): ("a:1",)}
    assert table.addresses() == {"a:1", "b:1"}
    assert [pool.model for pool in table.pools] == ["m"]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4))))
def test_an_older_table_never_replaces_a_newer(ages: list[tuple[int, int]]) -> None:
    async def scenario() -> None:
        view = RoutingView()
        assert not view.known
        for seen, age in enumerate(ages, start=1):
            before = view.table.age
            taken = view.offer(RoutingTable.from_message(message(*age)))
            assert taken == (age > before)
            assert view.table.age == max(ages[:seen])

    asyncio.run(scenario())


def test_a_change_wakes_all_waiters() -> None:
    async def scenario() -> None:
        view = RoutingView()
        waiting = [asyncio.create_task(view.change(5)) for _ in range(3)]
        await asyncio.sleep(0)
        view.offer(RoutingTable.from_message(message()))
        assert await asyncio.gather(*waiting) == [True, True, True]
        assert not await view.change(0.01)

    asyncio.run(scenario())
