"""More models than places: the one idle longest gives way, collections' models stay, a refusal says who holds them."""

from __future__ import annotations

import grpc
import pytest

from shoal.cluster.coordinator.fleet import pool_loop, pools
from shoal.cluster.coordinator.fleet.models import encoder_member
from shoal.v1 import errors_pb2
from support.coordinator.world import MODEL, World, set_liveness
from support.gateway.small_cluster import eventually, refused


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks often, so that tests are fast."""
    monkeypatch.setattr(pool_loop, "RESIZE_EVERY_S", 0.05)
    monkeypatch.setattr(pools, "DRAIN_POLL_S", 0.02)
    monkeypatch.setattr(pools, "MIN_DRAIN_S", 0.05)
    set_liveness(monkeypatch, probe_s=0.05)


def loaded(world: World) -> list[str]:
    """The models that are routed."""
    return sorted({route.model for route in world.routing().encoders if not route.draining})


def test_models_that_are_embedded_with_one_after_the_other_all_get_a_place(world: World) -> None:
    world.fleet.places = 3
    world.start()
    for dimension in range(264, 328, 8):
        world.retain(f"hashing:{dimension}")
    eventually(lambda: loaded(world) == ["hashing:304", "hashing:312", "hashing:320"])
    eventually(lambda: len(world.fleet.names("encoder")) == 3)
    assert not world.routing().outages


def test_a_collections_model_keeps_its_place_and_a_refusal_says_so(world: World) -> None:
    world.fleet.places = 1
    world.start()
    world.create()
    for ask in (lambda: world.retain("hashing:8"), lambda: world.create("more", model="hashing:8")):
        code, detail = refused(ask)
        assert (code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, errors_pb2.ERROR_REASON_MODEL_NOT_SERVED)
        assert detail.message == (
            f"model 'hashing:8' waits for 0.5 CPU: 0 of 0.5 are free; held by {MODEL!r} (of a collection)"
        )
        assert detail.retry_after_ms > 0
    assert loaded(world) == [MODEL]
    # Its place is the next one's.
    world.drop()
    world.retain("hashing:8")
    assert loaded(world) == ["hashing:8"]


def test_a_killed_encoder_of_a_collection_gets_its_place_back_from_a_model_nobody_waits_for(world: World) -> None:
    world.fleet.places = 1
    world.start()
    world.create()
    world.fleet.kill(encoder_member(MODEL, 0).name, hold_down=True)
    world.retain("hashing:8")
    world.fleet.release(encoder_member(MODEL, 0).name)
    eventually(lambda: loaded(world) == [MODEL])
    world.write({"a": "text"})
    world.settles({"a": 1})
