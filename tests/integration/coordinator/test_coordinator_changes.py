"""Collections are created and dropped as a whole, even if the caller disconnects or the coordinator is starting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

import grpc
import pytest

from shoal.cluster.decisions.access import AccessLevel, authenticated, presented
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.records import CollectionSettings
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import keys_pb2, permissions_pb2
from support.coordinator.world import MODEL, NAME, Gate, World, call_options
from support.gateway.small_cluster import eventually

SETTINGS = CollectionSettings(model=MODEL, dimension=0, index="flat", metric="cosine", shards=2, empty_text="reject")


def later(world: World, work: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Starts what a handler would do."""
    return asyncio.run_coroutine_threadsafe(work, world.now.server.loop)


def leave(world: World, asked: Future[Any]) -> None:
    """Disconnects the caller; returns when the coordinator has noticed it."""
    asked.cancel()
    later(world, asyncio.sleep(0.05)).result(10)


def embedding(world: World) -> list[str]:
    """Names of the running embedders."""
    tasks = asyncio.all_tasks(world.now.server.loop)
    return sorted(task.get_name() for task in tasks if task.get_name().startswith("embed "))


def test_a_collection_is_complete_though_its_caller_disconnected(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    gate = Gate(monkeypatch, LedgerWriter, "create_collection")
    asked = later(world, world.now.core.parts.collections.create(NAME, SETTINGS))
    gate.wait()
    leave(world, asked)
    gate.open()
    eventually(lambda: [one.name for one in world.reader.collections()] == [NAME])
    world.write({"a": "text"})
    world.settles({"a": 1})


def test_a_collection_is_dropped_though_its_caller_disconnected(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running.write({"a": "text"})
    running.settles({"a": 1})
    gate = Gate(monkeypatch, LedgerWriter, "drop_collection")
    asked = later(running, running.now.core.parts.collections.drop(NAME))
    gate.wait()
    leave(running, asked)
    gate.open()
    eventually(lambda: not running.routing().shards and not running.files())
    assert [host.describe() for host in running.fleet.hosts()] == [[]] and not embedding(running)


def test_a_collection_is_dropped_though_a_round_waits_for_one_of_its_shards(running: World) -> None:
    generation = running.cut().generation.id
    first, second = sorted(running.now.core.parts._keeper.of(generation), key=lambda shard: shard.number)
    later(running, second.lock.acquire()).result(10)
    running.write({f"d{number}": "text" for number in range(20)})
    eventually(first.lock.locked)
    asked = later(running, running.now.core.parts.collections.drop(NAME))
    eventually(lambda: not embedding(running))
    running.now.server.loop.call_soon_threadsafe(second.lock.release)
    assert asked.result(10) == 20
    assert not first.lock.locked() and not second.lock.locked()


def test_a_collection_dropped_while_the_coordinator_starts_is_not_embedded(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.now.stop()
    gate = Gate(monkeypatch, LedgerProgress, "next_ordinals")
    running.start(wait=False)
    gate.wait()
    asked = later(running, running.now.core.parts.collections.drop(NAME))
    # Long enough to finish if it did not wait.
    later(running, asyncio.sleep(0.3)).result(10)
    gate.open()
    running.now.starting.result(20)
    assert asked.result(20) == 0
    assert running.now.core.parts._embedders._running == {} and not embedding(running)


def test_a_collection_created_while_the_coordinator_starts_is_opened_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, LedgerProgress, "generations")
    world.start(wait=False)
    gate.wait()
    asked = later(world, world.now.core.parts.collections.create(NAME, SETTINGS))
    later(world, asyncio.sleep(0.5)).result(10)
    gate.open()
    world.now.starting.result(20)
    asked.result(20)
    assert embedding(world) == [f"embed {world.cut().generation.id}"]


def test_keys_are_made_and_revoked_by_the_holder_of_the_lease(running: World) -> None:
    stub = running.now.stub
    asked = keys_pb2.CreateKeyRequest(name="n", role=permissions_pb2.ACCESS_ROLE_WRITE, collections=["a*"], lifetime_ms=9)
    made = stub.CreateKey(coordinator_pb2.CreateKeyRequest(request=asked), **call_options()).response
    stored = running.reader.key(made.key.id)
    assert stored is not None
    assert (stored.name, stored.role, stored.collections) == ("n", AccessLevel.WRITE, ("a*",))
    assert stored.expires_at_ms == stored.created_at_ms + 9
    sent = presented([f"Bearer {made.text}"])
    assert sent is not None and authenticated(sent, stored, stored.created_at_ms)
    revoked = stub.RevokeKey(coordinator_pb2.RevokeKeyRequest(id=made.key.id), **call_options()).key
    assert revoked.HasField("revoked_at_ms") and not revoked.valid
    with pytest.raises(grpc.RpcError) as caught:
        stub.RevokeKey(coordinator_pb2.RevokeKeyRequest(id="nobody"), **call_options())
    failed: Any = caught.value
    assert failed.code() is grpc.StatusCode.NOT_FOUND
