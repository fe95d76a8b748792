"""Encoder actors on a real Ray of two machines (raylets of this one): spread, refused for lack of room, killed, lost."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from shoal.cluster.coordinator.fleet import ray_fleet
from shoal.cluster.coordinator.fleet.fleet import FleetError, Member, NoRoom
from shoal.cluster.coordinator.fleet.models import encoder_member
from shoal.cluster.coordinator.fleet.ray_fleet import RayFleet
from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.decisions.processes.liveness_events import Location
from shoal.cluster.settings import EncoderSettings, ServeSettings
from shoal.workers.runtime import InternalCredentials

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NAMESPACE = "fleet"
MODEL = "hashing:16"
WITHIN_S = 60.0
_kill = ray.kill


@pytest.fixture(scope="module")
def machines() -> Iterator[Cluster]:
    """A head without room, and two machines that say they have a GPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=2, num_gpus=1)
            ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def fleet(machines: Cluster, tmp_path: Path) -> Iterator[RayFleet]:
    """Encoders that ask for half a GPU; all are ended afterwards."""
    serve = ServeSettings(encoder=EncoderSettings(cpus=0.5, gpus=0.5))
    fleet = RayFleet(CoordinatorSettings("", str(tmp_path), InternalCredentials("secret"), "tests", serve), NAMESPACE)
    yield fleet
    for name in fleet.existing():
        fleet.stop(Member(name, "encoder", MODEL))
    assert fleet.existing() == []


def located(fleet: RayFleet, member: Member) -> Location:
    """The address of a member, once it has one."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            return fleet.locate(member)
        except FleetError as error:
            assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {error}"
            time.sleep(0.1)


def lack_of_room(fleet: RayFleet, member: Member) -> str:
    """The reason why a member has no room, once it is known."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            location = fleet.locate(member)
        except NoRoom as error:
            return str(error)
        except FleetError as error:
            assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {error}"
        else:
            assert time.monotonic() < deadline, f"{member.name} is at {location} still"
            time.sleep(0.1)


def machine_of(location: Location) -> int:
    """The raylet that runs it; one raylet is one machine here."""
    return psutil.Process(location.pid).ppid()


def test_encoders_share_gpus_and_spread_and_wait_for_room(fleet: RayFleet) -> None:
    members = [encoder_member(MODEL, number) for number in range(5)]
    for member in members[:2]:
        fleet.start(member)
    assert len({machine_of(located(fleet, member)) for member in members[:2]}) == 2
    for member in members[2:4]:
        fleet.start(member)
    assert len({located(fleet, member).pid for member in members[:4]}) == 4
    fleet.start(members[4])
    assert lack_of_room(fleet, members[4]) == "for 0.5 GPU: 0 of 2 are free"
    assert sorted(fleet.existing()) == sorted(member.name for member in members)
    # The others are still found.
    assert located(fleet, members[3]).pid
    # A waiting member can be stopped too, and a stopped one makes room.
    fleet.stop(members[4])
    assert members[4].name not in fleet.existing()
    fleet.start(members[4])
    fleet.stop(members[0])
    assert located(fleet, members[4]).pid


def test_a_stopped_actor_is_gone_though_ray_is_late_or_misses_the_stop(
    fleet: RayFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = encoder_member(MODEL, 0)
    fleet.start(member)
    located(fleet, member)
    calls: list[float] = []

    def kill(actor: Any, *, no_restart: bool) -> None:
        calls.append(time.monotonic())
        if len(calls) > 1:
            threading.Timer(0.3, _kill, (actor,), {"no_restart": no_restart}).start()

    monkeypatch.setattr(ray, "kill", kill)
    fleet.stop(member)
    assert member.name not in fleet.existing() and len(calls) >= 2
    # Its name can be used again.
    monkeypatch.undo()
    fleet.start(member)
    assert located(fleet, member).pid


def test_an_actor_that_does_not_stop_is_reported(fleet: RayFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    member = encoder_member(MODEL, 0)
    fleet.start(member)
    located(fleet, member)
    with monkeypatch.context() as patch:
        patch.setattr(ray, "kill", lambda *_, **__: None)
        patch.setattr(ray_fleet, "STOP_TIMEOUT_S", 0.3)
        with pytest.raises(FleetError, match=f"^{member.name} is still running 0.3 s after it was told to stop$"):
            fleet.stop(member)
    assert fleet.existing() == [member.name]


def test_an_actor_that_hangs_or_is_killed_is_replaced(fleet: RayFleet) -> None:
    member = encoder_member(MODEL, 0)
    fleet.start(member)
    first = located(fleet, member)
    os.kill(first.pid, signal.SIGSTOP)
    with pytest.raises(FleetError, match="has not started yet"):
        fleet.locate(member)
    fleet.restart(member)
    second = located(fleet, member)
    assert second.pid != first.pid and not psutil.pid_exists(first.pid)
    os.kill(second.pid, signal.SIGKILL)
    third = located(fleet, member)
    # Ray may not have noticed yet.
    while third.pid == second.pid:
        time.sleep(0.1)
        third = located(fleet, member)
    assert third.address != second.address


def test_an_actor_of_a_lost_machine_restarts_where_there_is_room(machines: Cluster, fleet: RayFleet) -> None:
    members = [encoder_member(MODEL, number) for number in range(4)]
    for member in members:
        fleet.start(member)
    before = {member.name: located(fleet, member) for member in members}
    machine = {name: machine_of(location) for name, location in before.items()}
    machines.remove_node(next(iter(machines.worker_nodes)), allow_graceful=False)
    homeless = [member for member in members if not psutil.pid_exists(machine[member.name])]
    assert len(homeless) == 2
    for member in homeless:
        # Until Ray is sure that the machine is gone, it counts its GPU.
        assert re.fullmatch(r"for 0.5 GPU: 0 of [12] are free", lack_of_room(fleet, member))
    assert all(located(fleet, member) == before[member.name] for member in members if member not in homeless)
    machines.add_node(num_cpus=2, num_gpus=1)
    assert len({located(fleet, member).pid for member in members} | {one.pid for one in before.values()}) == 6
