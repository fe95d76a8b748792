"""Pools of replicas: they grow with the backlog, shrink without failing a call, and outlive coordinators."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from shoal.cluster.coordinator.embedding import encoder_calls
from shoal.cluster.coordinator.fleet import pool_loop, pools, supervision
from shoal.cluster.coordinator.fleet.fleet import Member
from shoal.cluster.coordinator.fleet.models import encoder_member
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.rpc.channels import Channels
from shoal.cluster.settings import ServeSettings
from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc
from shoal.v1 import errors_pb2, status_pb2
from support.coordinator.world import MODEL, NAME, SETTINGS, Gate, World, set_liveness
from support.gateway.small_cluster import CREDENTIALS, eventually, refused

DOCUMENT = encoder_pb2.ENCODE_ROLE_DOCUMENT
LIVE, BACKFILL = encoder_pb2.ENCODE_PRIORITY_LIVE, encoder_pb2.ENCODE_PRIORITY_BACKFILL


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks often, so that tests are fast."""
    monkeypatch.setattr(pool_loop, "RESIZE_EVERY_S", 0.05)
    monkeypatch.setattr(pools, "RESIZE_EVERY_S", 0.05)
    monkeypatch.setattr(pools, "DRAIN_POLL_S", 0.02)
    monkeypatch.setattr(pools, "MIN_DRAIN_S", 0.1)
    set_liveness(monkeypatch, probe_s=0.05)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Waits until a coordinator has checked all pools and channels a few more times."""
    whole, seen = Channels.keep, [0]

    async def keep(channels: Channels, addresses: set[str]) -> None:
        await whole(channels, addresses)
        seen[0] += 1

    def wait() -> None:
        wanted = seen[0] + 4
        eventually(lambda: seen[0] >= wanted)

    monkeypatch.setattr(Channels, "keep", keep)
    return wait


def with_encoders(**settings: Any) -> ServeSettings:
    return replace(SETTINGS, encoder=replace(SETTINGS.encoder, **settings))


def encoders(world: World) -> dict[str, status_pb2.Process]:
    return {one.name: one for one in world.routing().processes if one.kind == status_pb2.PROCESS_KIND_ENCODER}


def states(world: World) -> list[str]:
    names = (status_pb2.ProcessState.Name(one.state) for one in encoders(world).values())
    return sorted(name.removeprefix("PROCESS_STATE_").lower() for name in names)


def attempts(world: World, ids: list[str]) -> set[int]:
    return {world.reader.explain(NAME, one).generations[0].attempts for one in ids}


def name_of(number: int, model: str = MODEL) -> str:
    return encoder_member(model, number).name


def test_a_pool_grows_with_the_backlog_and_shrinks_when_it_is_gone(world: World) -> None:
    world.fleet.pace_s = 0.005
    world.start(with_encoders(max_replicas=3, scale_up_s=0.2, scale_down_s=1.0))
    world.create()
    assert states(world) == ["ready"]
    (pool,) = world.routing().pools
    assert (pool.model, pool.min_replicas, pool.max_replicas, pool.wanted, pool.ready) == (MODEL, 1, 3, 1, 1)
    texts = {f"d{number:03}": f"text {number}" for number in range(600)}
    world.write(texts)
    eventually(lambda: states(world) == ["ready"] * 3)
    assert world.routing().pools[0].wanted == 3
    world.settles(dict.fromkeys(texts, 1))
    # A trickle of work continues while two of them drain and stop.
    rounds = 0
    while len(world.fleet.names("encoder")) > 1:
        rounds += 1
        assert rounds < 600
        world.write({"trickle": f"drop {rounds}"})
        threading.Event().wait(0.02)
    assert world.fleet.names("encoder") == [name_of(0)]
    world.settles({"trickle": rounds})
    assert rounds > 1 and world.fleet.cut_off == 0
    assert attempts(world, ["trickle", "d000", "d599"]) == {0} and world.cut().failed == 0
    eventually(lambda: world.routing().pools[0].wanted == world.routing().pools[0].ready == 1)


def test_a_replica_finishes_what_it_has_before_it_ends(running: World) -> None:
    running.fleet.pace_s = 0.1
    (route,) = running.routing().encoders
    with grpc.insecure_channel(route.address) as channel:
        request = encoder_pb2.EncodeRequest(texts=[f"text {number}" for number in range(50)], role=DOCUMENT)
        encode = encoder_pb2_grpc.EncoderServiceStub(channel).Encode
        answer = encode.future(request, metadata=CREDENTIALS.metadata(), timeout=20)
        eventually(lambda: len(running.fleet.encoded) == 1)
        running.drop()
        eventually(lambda: states(running) == ["draining"])
        assert len(answer.result().tokens) == 50
    eventually(lambda: not running.fleet.names("encoder") and not encoders(running))
    assert running.fleet.cut_off == 0


def test_a_replica_that_does_not_stop_is_stopped_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "END_PAUSE_S", 0.05)
    world.start()
    world.create()
    world.fleet.unending[name_of(0)] = 3
    world.drop()
    eventually(lambda: not world.fleet.names("encoder") and not encoders(world))
    assert not world.fleet.unending[name_of(0)]


def test_a_draining_replica_returns_when_there_is_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MIN_DRAIN_S", 30.0)
    world.fleet.pace_s = 0.005
    world.start(with_encoders(max_replicas=2, scale_up_s=0.2, scale_down_s=0.5))
    world.create()
    texts = {f"d{number:03}": f"text {number}" for number in range(300)}
    world.write(texts)
    eventually(lambda: "draining" in states(world))
    pids = {name: worker.pid for name, worker in encoders(world).items()}
    (draining,) = [route for route in world.routing().encoders if route.draining]
    assert draining.address == encoders(world)[name_of(1)].address
    world.write({one: f"{text} again" for one, text in texts.items()})
    eventually(lambda: states(world) == ["ready", "ready"])
    assert {name: worker.pid for name, worker in encoders(world).items()} == pids
    world.settles(dict.fromkeys(texts, 2))
    assert world.fleet.cut_off == 0


def test_a_replica_without_room_says_so_and_does_not_block_others(world: World) -> None:
    world.fleet.no_room.add(name_of(1))
    world.start(with_encoders(replicas=3))
    world.create()
    world.write({"a": "text"})
    world.settles({"a": 1})
    eventually(lambda: states(world) == ["ready", "ready", "waiting"])
    assert encoders(world)[name_of(1)].detail == "for 1 GPU: 0 of 0 are free"
    (pool,) = world.routing().pools
    assert (pool.wanted, pool.ready) == (3, 2)
    world.fleet.no_room.clear()
    eventually(lambda: states(world) == ["ready"] * 3)


def test_a_model_without_any_room_is_reported_with_the_reason(world: World) -> None:
    world.fleet.no_room.add(name_of(0))
    world.start()
    code, detail = refused(world.create)
    assert (code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_MODEL_NOT_SERVED)
    assert detail.message == f"model {MODEL!r} waits for 1 GPU: 0 of 0 are free"
    assert detail.retry_after_ms > 0
    # It stays queued, so that an autoscaler sees what is needed.
    assert states(world) == ["waiting"]
    world.fleet.no_room.clear()
    eventually(lambda: states(world) == ["ready"])
    world.create()


def test_a_hanging_encoder_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough that a machine which pauses for a second does not stop another one.
    set_liveness(monkeypatch, hung_s=5.0, probe_timeout_s=1.0)
    world.start(with_encoders(replicas=2))
    world.create()
    eventually(lambda: states(world) == ["ready", "ready"])
    before = encoders(world)[name_of(1)]
    world.fleet.still.add(name_of(1))

    def avoided() -> bool:
        message = world.routing()
        shown = {process.name: process for process in message.processes}
        routes = [route.address for route in message.encoders]
        return routes == [shown[name_of(0)].address] and shown[name_of(1)].detail == "it does not answer"

    eventually(avoided)
    # The other one keeps working meanwhile.
    world.write({"a": "text"})
    world.settles({"a": 1})
    eventually(lambda: states(world) == ["ready", "ready"])
    after = encoders(world)[name_of(1)]
    assert (after.pid != before.pid, after.restarts, world.fleet.restarted) == (True, 1, [name_of(1)])
    assert encoders(world)[name_of(0)].restarts == 0


def test_a_slow_answer_to_one_probe_stops_no_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.create()
    set_liveness(monkeypatch, probe_timeout_s=0.1)
    world.fleet.still.add(name_of(0))
    eventually(lambda: states(world) == ["unreachable"])
    world.fleet.still.clear()
    eventually(lambda: states(world) == ["ready"])
    assert world.fleet.restarted == [] and encoders(world)[name_of(0)].restarts == 0


def test_a_pause_of_the_coordinator_itself_stops_no_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start()
    world.create()
    set_liveness(monkeypatch, probe_timeout_s=0.1)
    # At each check, far more time has passed than an encoder may be silent.
    clock = itertools.count(1e9, 1000.0)
    monkeypatch.setattr(Supervisor, "_now", property(lambda _: next(clock)))
    world.fleet.still.add(name_of(0))
    eventually(lambda: states(world) == ["unreachable"])
    world.fleet.still.clear()
    eventually(lambda: states(world) == ["ready"])
    assert world.fleet.restarted == [] and encoders(world)[name_of(0)].restarts == 0


def test_the_next_coordinator_adopts_running_processes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "ADOPTION_TRIES", 3)
    world.start(with_encoders(replicas=2))
    world.create()
    world.retain("hashing:8")
    eventually(lambda: states(world) == ["ready"] * 4)
    pids = {name: worker.pid for name, worker in encoders(world).items()}
    world.now.stop()
    lost = encoder_member("hashing:4", 0)
    world.fleet.start(lost)
    world.fleet.held_down.add(lost.name)
    world.start(with_encoders(max_replicas=3))
    eventually(lambda: {name: worker.pid for name, worker in encoders(world).items()} == pids)
    eventually(lambda: states(world) == ["ready"] * 4)
    assert {worker.model for worker in encoders(world).values()} == {MODEL, "hashing:8"}
    # It cannot be identified.
    eventually(lambda: lost.name not in world.fleet.names("encoder"))
    assert world.fleet.cut_off == 0


def test_a_replica_found_after_its_sibling_is_also_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, looks: Callable[[], None]
) -> None:
    first, second = name_of(0, "hashing:8"), name_of(1, "hashing:8")
    world.start(with_encoders(replicas=2))
    world.retain("hashing:8")
    eventually(lambda: states(world) == ["ready", "ready"])
    pids = {name: worker.pid for name, worker in encoders(world).items()}
    world.now.stop()
    model_of, found = Supervisor.model_of, threading.Event()

    async def later(supervisor: Supervisor, member: Member) -> str:
        while member.name == second and not found.is_set():
            await asyncio.sleep(0.01)
        return await model_of(supervisor, member)

    monkeypatch.setattr(Supervisor, "model_of", later)
    world.start(with_encoders(max_replicas=3))
    eventually(lambda: list(encoders(world)) == [first])
    looks()
    assert [pool.wanted for pool in world.routing().pools] == [1]
    found.set()
    eventually(lambda: states(world) == ["ready", "ready"])
    looks()
    assert [pool.wanted for pool in world.routing().pools] == [2]
    assert {name: worker.pid for name, worker in encoders(world).items()} == pids


def test_a_replica_that_is_slow_to_describe_itself_is_adopted(
    world: World, monkeypatch: pytest.MonkeyPatch, looks: Callable[[], None]
) -> None:
    monkeypatch.setattr(pools, "ADOPTION_TRIES", 1)
    set_liveness(monkeypatch, probe_timeout_s=30.0)
    world.start()
    world.retain("hashing:8")
    pids = {name: worker.pid for name, worker in encoders(world).items()}
    world.now.stop()
    world.fleet.still.update(pids)
    world.start()
    looks()
    world.fleet.still.clear()
    eventually(lambda: {name: worker.pid for name, worker in encoders(world).items()} == pids)
    assert states(world) == ["ready"] and world.fleet.names("encoder") == list(pids)


def test_the_first_probe_of_a_process_may_be_slow(
    world: World, monkeypatch: pytest.MonkeyPatch, looks: Callable[[], None]
) -> None:
    set_liveness(monkeypatch, probe_timeout_s=30.0)
    world.start()
    world.fleet.still.add(name_of(0))
    with ThreadPoolExecutor(1) as callers:
        making = callers.submit(world.create)
        eventually(lambda: states(world) == ["starting"] and world.fleet.running(name_of(0)))
        looks()
        assert [worker.detail for worker in encoders(world).values()] == [""]
        world.fleet.still.clear()
        making.result(20)


def test_a_model_that_took_long_to_load_is_kept_after_that(
    world: World, monkeypatch: pytest.MonkeyPatch, looks: Callable[[], None]
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(pools, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    world.start(with_encoders(idle_s=10.0))
    world.fleet.still.add(name_of(0, "hashing:8"))
    with ThreadPoolExecutor(1) as callers:
        retaining = callers.submit(world.retain, "hashing:8")
        eventually(lambda: states(world) == ["starting"])
        now_s[0] = 60.0
        world.fleet.still.clear()
        retaining.result(20)
    looks()
    assert states(world) == ["ready"]
    now_s[0] = 80.0
    eventually(lambda: not world.fleet.names("encoder"))


@pytest.mark.parametrize(
    "ask",
    [lambda world: world.retain("nonsense"), lambda world: world.create(model="nonsense")],
    ids=["to embed", "for a collection"],
)
def test_a_model_that_cannot_be_loaded_is_not_restarted_as_it_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, looks: Callable[[], None], ask: Callable[[World], None]
) -> None:
    world.start()
    started: list[str] = []
    start = world.fleet.start
    monkeypatch.setattr(world.fleet, "start", lambda member: (started.append(member.name), start(member)))
    gate = Gate(monkeypatch, world.fleet, "stop")
    with ThreadPoolExecutor(1) as callers:
        asking = callers.submit(refused, lambda: ask(world))
        gate.wait()
        looks()
        gate.open()
        assert asking.result(20)[0] is grpc.StatusCode.INVALID_ARGUMENT
    looks()
    assert started == [name_of(0, "nonsense")] and not world.fleet.names("encoder")


def test_live_edits_go_before_new_documents(running: World) -> None:
    running.write({"a": "one", "b": "two"})
    running.settles({"a": 1, "b": 1})
    assert set(running.fleet.priorities) == {BACKFILL}
    running.write({"a": "changed", "c": "three"})
    running.settles({"a": 2, "b": 1, "c": 1})
    sent = dict(zip(map(tuple, running.fleet.encoded), running.fleet.priorities, strict=True))
    assert (sent[("changed",)], sent[("three",)]) == (LIVE, BACKFILL)


def test_an_edit_and_a_removal_do_not_wait_behind_backfill(world: World) -> None:
    world.start(with_encoders(batch_documents=1))
    world.create()
    world.write({"a": "one", "b": "two"})
    world.settles({"a": 1, "b": 1})
    world.fleet.late["stuck"] = 2
    world.write({"c": "stuck", "d": "stuck", "e": "later"})
    eventually(lambda: not world.fleet.late["stuck"])
    world.write({"a": "changed"})
    world.send(deletes=["b"])
    eventually(lambda: world.versions(["a", "b"]) == {"a": 2, "b": 0})
    assert world.versions(["c", "d", "e"]) == {"c": 0, "d": 0, "e": 0}


def test_a_document_that_only_waited_behind_others_is_not_blamed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_calls, "ENCODE_TIMEOUT_S", 2.0)
    world.start(with_encoders(batch_documents=1))
    world.create()
    world.fleet.late["patient"] = 4
    world.write({"a": "patient"})
    rounds = 0
    while world.fleet.late["patient"]:
        rounds += 1
        assert rounds < 2400
        world.write({"other": f"text {rounds}"})
        threading.Event().wait(0.02)
    world.settles({"a": 1, "other": rounds})
    assert attempts(world, ["a"]) == {0} and world.cut().failed == 0
