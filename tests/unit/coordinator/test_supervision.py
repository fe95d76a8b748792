"""Starting and stopping members: never two of one name at once, and none is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from shoal.cluster.coordinator.fleet.fleet import FleetError, Member
from shoal.cluster.coordinator.fleet.supervision import Supervisor
from shoal.cluster.coordinator.worker_calls import WorkerCalls
from shoal.cluster.decisions.processes.liveness_events import Location
from shoal.cluster.rpc.channels import Channels
from shoal.workers.indexing.manifest import ManifestInfo, SealedInfo
from shoal.workers.runtime import InternalCredentials

ONE = Member("encoder-one-0", "encoder", "one")


class SlowFleet:
    """Members never come up; blocked calls continue when the test lets them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.starts, self.stops = threading.Event(), threading.Event()
        self.starts.set()
        self.stops.set()

    def start(self, member: Member) -> None:
        self.calls.append("start")
        assert self.starts.wait(20)
        self.calls.append("started")

    def stop(self, member: Member) -> None:
        self.calls.append("stop")
        assert self.stops.wait(20)
        self.calls.append("stopped")

    def locate(self, member: Member) -> Location:
        raise FleetError(f"{member.name} is down")

    def restart(self, member: Member) -> None: ...

    def existing(self) -> list[str]:
        return []

    def seal(self, manifest: ManifestInfo) -> SealedInfo:
        raise FleetError("nothing is sealed here")


def supervised(scene: Callable[[SlowFleet, Supervisor], Awaitable[None]]) -> list[str]:
    """The calls to the fleet in a scene."""

    async def run() -> list[str]:
        fleet = SlowFleet()
        supervisor = Supervisor(fleet, WorkerCalls(Channels(InternalCredentials("secret"))), lambda _: None)
        try:
            await scene(fleet, supervisor)
        finally:
            fleet.starts.set()
            fleet.stops.set()
            await supervisor.close()
        return fleet.calls

    return asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def a_while() -> None:
    """Long enough for everything that is not blocked."""
    await asyncio.sleep(0.1)


def test_a_name_is_reused_only_after_its_old_process_has_ended() -> None:
    async def scene(fleet: SlowFleet, supervisor: Supervisor) -> None:
        supervisor.add(ONE)
        await until(lambda: "started" in fleet.calls)
        fleet.stops.clear()
        removing = asyncio.create_task(supervisor.remove(ONE.name))
        await until(lambda: "stop" in fleet.calls)
        supervisor.add(ONE)
        await a_while()
        fleet.stops.set()
        await removing
        await until(lambda: fleet.calls.count("started") == 2)

    assert supervised(scene) == ["start", "started", "stop", "stopped", "start", "started"]


def test_a_member_removed_while_it_starts_is_stopped_after_that() -> None:
    async def scene(fleet: SlowFleet, supervisor: Supervisor) -> None:
        fleet.starts.clear()
        supervisor.add(ONE)
        await until(lambda: "start" in fleet.calls)
        removing = asyncio.create_task(supervisor.remove(ONE.name))
        await a_while()
        fleet.starts.set()
        await removing

    assert supervised(scene) == ["start", "started", "stop", "stopped"]


def test_a_name_stays_taken_though_no_one_waits_for_its_end() -> None:
    async def scene(fleet: SlowFleet, supervisor: Supervisor) -> None:
        fleet.stops.clear()
        ending = asyncio.create_task(supervisor.end(ONE))
        await until(lambda: "stop" in fleet.calls)
        ending.cancel()
        supervisor.add(ONE)
        await a_while()
        fleet.stops.set()
        await until(lambda: "started" in fleet.calls)

    assert supervised(scene) == ["stop", "stopped", "start", "started"]


def test_a_member_removed_before_its_turn_is_never_started() -> None:
    async def scene(fleet: SlowFleet, supervisor: Supervisor) -> None:
        fleet.stops.clear()
        ending = asyncio.create_task(supervisor.end(ONE))
        await until(lambda: "stop" in fleet.calls)
        supervisor.add(ONE)
        await a_while()
        removing = asyncio.create_task(supervisor.remove(ONE.name))
        await a_while()
        fleet.stops.set()
        await asyncio.gather(ending, removing)
        await a_while()

    assert supervised(scene) == ["stop", "stopped", "stop", "stopped"]
