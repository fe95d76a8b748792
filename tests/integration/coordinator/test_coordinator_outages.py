"""Models that cannot be served: their callers hear it at once, they take no place, and they come back when they can."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from shoal.cluster.coordinator.fleet import pool_loop
from shoal.cluster.coordinator.fleet.models import encoder_member
from shoal.v1 import errors_pb2, status_pb2
from shoal.workers.encoding.model import ModelError
from support.coordinator.world import MODEL, World, set_liveness
from support.gateway.small_cluster import eventually, refused


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks often, so that tests are fast."""
    monkeypatch.setattr(pool_loop, "RESIZE_EVERY_S", 0.05)


NAME = encoder_member(MODEL, 0).name
BROKEN = ModelError(MODEL, "config.json cannot be read")


class Panic(BaseException):
    """As Rust libraries raise it: no Exception."""


def outages(world: World) -> dict[tuple[str, str], str]:
    return {(one.model, one.fingerprint): one.reason for one in world.routing().outages}


def process(world: World) -> status_pb2.Process:
    """The encoder; an empty message while none is shown."""
    shown = [one for one in world.routing().processes if one.kind == status_pb2.PROCESS_KIND_ENCODER]
    return shown[0] if shown else status_pb2.Process()


@pytest.mark.parametrize(
    ("failure", "reason", "code", "kind"),
    [
        (BROKEN, "config.json cannot be read", "INVALID_ARGUMENT", errors_pb2.ERROR_REASON_INVALID_MODEL),
        (IsADirectoryError(21, "Is a directory"), "IsADirectoryError: [Errno 21] Is a directory", "INVALID_ARGUMENT", 3),
        (Panic("the file is cut short"), "Panic: the file is cut short", "INVALID_ARGUMENT", 3),
        (MemoryError("12 GB"), "MemoryError: 12 GB", "FAILED_PRECONDITION", errors_pb2.ERROR_REASON_MODEL_NOT_SERVED),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_to_all_callers_and_gives_its_place_back(
    world: World, failure: BaseException, reason: str, code: str, kind: errors_pb2.ErrorReason.ValueType
) -> None:
    world.start()
    world.fleet.failures[MODEL] = failure
    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(refused, lambda: world.retain(MODEL)) for _ in range(3)]
        asking.append(callers.submit(refused, world.create))
        for one in asking:
            status, detail = one.result(20)
            assert (status.name, detail.reason, detail.message) == (code, kind, f"model {MODEL!r}: {reason}")
    eventually(lambda: not world.fleet.names("encoder"))
    # Calls that wait for it elsewhere hear it too.
    assert outages(world) == {(MODEL, ""): f"model {MODEL!r}: {reason}"}
    # The next call tries again.
    world.fleet.failures.clear()
    world.create()
    assert outages(world) == {}


def test_a_process_that_dies_while_it_loads_is_said_at_once(world: World) -> None:
    world.start()
    loading, dead = threading.Event(), threading.Event()

    class Death(BaseException):
        def __init__(self) -> None:
            loading.set()
            dead.wait(20)

    class Dying(dict[str, BaseException]):
        def __contains__(self, _: object) -> bool:
            return True

        def __getitem__(self, _: str) -> BaseException:
            return Death()

    world.fleet.failures = Dying()
    with ThreadPoolExecutor(2) as callers:
        asking = callers.submit(refused, lambda: world.retain(MODEL))
        assert loading.wait(20)
        eventually(lambda: process(world).state == status_pb2.PROCESS_STATE_LOADING)
        killing = callers.submit(world.fleet.kill, NAME)
        code, detail = asking.result(20)
        dead.set()
        killing.result(20)
    assert (code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_MODEL_NOT_SERVED)
    assert detail.message == f"model {MODEL!r}: its process died while it loaded the model" and detail.retry_after_ms
    eventually(lambda: not world.fleet.names("encoder"))


def test_a_collections_model_that_breaks_is_known_until_it_is_repaired(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_liveness(monkeypatch, failed_pause_s=0.3)
    generation = running.cut().generation
    running.fleet.failures[MODEL] = BROKEN
    loads = running.fleet.loads[MODEL]
    running.fleet.kill(NAME)
    eventually(lambda: bool(outages(running)))
    wanted = {(MODEL, ""), (MODEL, generation.fingerprint)}
    assert outages(running).keys() == wanted
    # It is tried again, and the reason stays known meanwhile.
    seen: set[frozenset[tuple[str, str]]] = set()
    reasons: set[str] = set()

    def tried() -> bool:
        now = outages(running)
        seen.add(frozenset(now))
        reasons.update(now.values())
        return running.fleet.loads[MODEL] >= loads + 3

    eventually(tried)
    assert seen == {frozenset(wanted)}
    assert {f"model {MODEL!r}: config.json cannot be read"} < reasons
    (pool,) = running.routing().pools
    assert pool.problem.startswith(f"model {MODEL!r}: config.json cannot be read (") and pool.ready == 0
    running.write({"a": "text"})
    running.fleet.failures.clear()
    running.settles({"a": 1})
    assert outages(running) == {} and running.routing().pools[0].problem == ""


def test_files_that_changed_since_the_collection_was_made_are_named(running: World) -> None:
    generation = running.cut().generation
    running.write({"a": "text"})
    running.settles({"a": 1})
    running.fleet.fingerprints[MODEL] = "other"
    running.fleet.kill(NAME)
    expected = f"model {MODEL!r}: its files have changed: fingerprint {generation.fingerprint} is wanted, other is there"
    eventually(lambda: outages(running) == {(MODEL, generation.fingerprint): expected})
    (pool,) = running.routing().pools
    assert (pool.problem, pool.ready) == (expected, 1)
    # The right files return.
    running.fleet.fingerprints.clear()
    running.fleet.kill(NAME)
    eventually(lambda: not outages(running))
    running.write({"a": "changed"})
    running.settles({"a": 2})


def test_a_process_that_cannot_describe_itself_has_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a model states a number that fits into no message."""
    world.start()

    async def broken(*_: object) -> None:
        raise TypeError("a float is not an integer")

    monkeypatch.setattr("support.coordinator.local_fleet.FragileEncoder.DescribeModel", broken)
    code, detail = refused(lambda: world.retain(MODEL))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "it cannot describe itself" in detail.message and "a float is not an integer" in detail.message


def test_an_embedded_model_that_breaks_later_is_forgotten(world: World) -> None:
    world.start()
    world.retain(MODEL)
    world.fleet.failures[MODEL] = BROKEN
    world.fleet.kill(NAME)
    eventually(lambda: not world.fleet.names("encoder") and not world.routing().pools)
    assert outages(world) == {(MODEL, ""): f"model {MODEL!r}: config.json cannot be read"}


def test_the_place_of_a_failed_replica_is_free_during_its_pause(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_liveness(monkeypatch, failed_pause_s=60.0)
    running.fleet.failures[MODEL] = BROKEN
    running.fleet.kill(NAME)
    eventually(lambda: not running.fleet.names("encoder"))
    assert process(running).state == status_pb2.PROCESS_STATE_FAILED
    assert process(running).detail == "config.json cannot be read; next attempt after 60 s"
