"""Requests of gateways to a coordinator, and what happens when one coordinator follows another."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from shoal.cluster.coordinator import group_commit
from shoal.cluster.coordinator.fleet import pool_loop
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import documents_pb2, errors_pb2, status_pb2
from support.coordinator.world import MODEL, NAME, SETTINGS, World
from support.gateway.small_cluster import CREDENTIALS, eventually, refused

INVALID, EXISTS, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("settings", "reason", "said"),
    [
        (
            {"model": "/no/such/model"},
            errors_pb2.ERROR_REASON_INVALID_MODEL,
            "model '/no/such/model': there is no such folder",
        ),
        (
            {"model": MODEL, "dimension": 8},
            errors_pb2.ERROR_REASON_DIMENSION_MISMATCH,
            "settings.dimension = 8: model 'hashing:16' makes vectors of 16",
        ),
    ],
)
def test_a_collection_that_cannot_be_created(world: World, settings: Any, reason: int, said: str) -> None:
    world.start()
    code, detail = refused(lambda: world.create(**settings))
    assert (code, detail.reason, detail.message) == (INVALID, reason, said)
    assert world.reader.collections() == []


def test_a_name_in_use_and_an_unknown_name(running: World) -> None:
    assert refused(running.create)[0] is EXISTS
    for call in (
        lambda: running.write({"a": "text"}, "nothing"),
        lambda: running.drop("nothing"),
        lambda: running.retry_failed(name="nothing"),
    ):
        code, detail = refused(call)
        assert (code, detail.message) == (MISSING, "no collection is named 'nothing'")


def test_a_model_is_kept_while_it_is_requested(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_loop, "RESIZE_EVERY_S", 0.05)
    world.start(replace(SETTINGS, encoder=replace(SETTINGS.encoder, idle_s=0.5)))
    world.retain("hashing:8")
    assert [(route.model, bool(route.fingerprint)) for route in world.routing().encoders] == [("hashing:8", True)]
    eventually(lambda: not world.routing().encoders and not world.fleet.names("encoder"))
    code, detail = refused(lambda: world.retain("nonsense"))
    assert (code, detail.reason) == (INVALID, errors_pb2.ERROR_REASON_INVALID_MODEL)
    eventually(lambda: not world.fleet.names("encoder"))


def test_the_routing_message_lists_everything(running: World) -> None:
    message = running.routing()
    generation = running.cut().generation
    assert [(route.key.generation, route.key.shard) for route in message.shards] == [(generation.id, 0), (generation.id, 1)]
    assert {(process.kind, process.state) for process in message.processes} == {
        (status_pb2.PROCESS_KIND_COORDINATOR, status_pb2.PROCESS_STATE_READY),
        (status_pb2.PROCESS_KIND_ENCODER, status_pb2.PROCESS_STATE_READY),
        (status_pb2.PROCESS_KIND_INDEX, status_pb2.PROCESS_STATE_READY),
    }
    assert (message.epoch, message.encoders[0].fingerprint) == (1, generation.fingerprint)
    running.fleet.kill("index-0", hold_down=True)
    eventually(lambda: not running.routing().shards)
    later = running.routing()
    assert later.revision > message.revision
    states = {process.state for process in later.processes if process.kind == status_pb2.PROCESS_KIND_INDEX}
    assert states == {status_pb2.PROCESS_STATE_UNREACHABLE}


def test_calls_without_the_secret_are_refused(running: World) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.now.stub.DropCollection(coordinator_pb2.DropCollectionRequest(name=NAME), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # pyright: ignore[reportAttributeAccessIssue]
    assert running.cut().collection.name == NAME


def test_the_next_coordinator_continues(running: World) -> None:
    running.write({"done": "before"})
    running.settles({"done": 1})
    (encoder,) = running.fleet.names("encoder")
    running.fleet.kill(encoder, hold_down=True)
    running.write({"a": "text", "done": "edited"})
    running.send(deletes=["a"])
    running.write({"b": "text"})
    running.now.stop()
    running.fleet.release(encoder)
    running.start()
    assert running.now.core.parts.lease.epoch == 2
    running.settles({"a": 0, "b": 1, "done": 2})


def test_a_watch_that_ends_during_a_change_is_not_lost(running: World) -> None:
    core = running.now.core

    async def end() -> None:
        (one,) = core.parts._embedders._running.values()
        # Let it settle first: it must be waiting for a change.
        await asyncio.sleep(0.1)
        one.embedder.wake()
        one.task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(one.task, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), running.now.server.loop).result(10)


def test_a_deposed_coordinator_cannot_write(running: World) -> None:
    first = running.now
    running.start()
    code, detail = refused(lambda: _write(first.stub, "a"))
    assert (code, detail.message) == (
        grpc.StatusCode.UNAVAILABLE,
        "this coordinator's epoch 1 has ended; the lease is at epoch 2",
    )
    assert first.depositions > 0
    running.write({"a": "text"})
    running.settles({"a": 1})


def test_a_deposed_coordinator_notices_it_itself(running: World) -> None:
    first = running.now
    running.start()
    eventually(lambda: first.depositions > 0)
    assert running.now.depositions == 0


def test_another_holder_waits_for_the_lease(world: World) -> None:
    world.start(replace(SETTINGS, lease_s=10.0))
    world.create()
    began = world.lease().expires_at_ms
    second = world.start(holder="another host", wait=False)
    # It is being renewed.
    eventually(lambda: world.lease().expires_at_ms > began)
    assert not second.starting.done()
    code, detail = refused(lambda: _write(second.stub, "a"))
    assert (code, detail.message) == (grpc.StatusCode.UNAVAILABLE, "the coordinator is starting")
    world.lives[0].stop()
    second.starting.result(timeout=20)
    world.write({"a": "text"})
    world.settles({"a": 1})


def test_an_overloaded_coordinator_refuses_upserts_and_takes_deletes(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_DOCUMENTS", 3)
    running.write({"gone": "text"})
    running.settles({"gone": 1})
    blocker = sqlite3.connect(running.ledger_path, isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        waiting = _write_later(running, upserts=["a", "b", "c"])
        eventually(lambda: running.now.core.parts.writes._waiting_documents == 3)
        code, detail = refused(lambda: _write(running.now.stub, "d"))
        assert (code, detail.reason, detail.limit) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            errors_pb2.ERROR_REASON_OVERLOADED,
            3,
        )
        assert detail.retry_after_ms > 0
        deleting = _write_later(running, deletes=["gone"])
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert [one.version for one in waiting().results] == [1, 1, 1]
    assert [one.changed for one in deleting().results] == [True]
    running.settles({"a": 1, "gone": 0})


def _request(upserts: list[str], deletes: list[str]) -> coordinator_pb2.WriteRequest:
    documents = [documents_pb2.Document(id=one, text=f"text of {one}") for one in upserts]
    return coordinator_pb2.WriteRequest(collection=NAME, upserts=documents, deletes=deletes)


def _write(stub: Any, one: str) -> None:
    stub.Write(_request([one], []), metadata=CREDENTIALS.metadata(), timeout=20)


def _write_later(
    world: World, upserts: list[str] | None = None, deletes: list[str] | None = None
) -> Callable[[], coordinator_pb2.WriteResponse]:
    """Starts a write; the returned task waits for its answer."""
    request = _request(upserts or [], deletes or [])
    return world.now.stub.Write.future(request, metadata=CREDENTIALS.metadata(), timeout=20).result
