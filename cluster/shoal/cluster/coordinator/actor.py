"""The coordinator as a Ray actor: hosts the coordinator, its gRPC service and the Ray fleet.

The constructor imports them: `shoal serve` needs only the class, and starts sooner.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING

import ray
import ray.util

from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.ray_runtime.restarts import retried_at_restart

if TYPE_CHECKING:
    from shoal.cluster.decisions.health.problems import Problem

DEPOSED_EXIT_CODE = 3


def _leave() -> None:
    """Another coordinator holds the lease, so this process must end. Ray starts it again if it is still wanted."""
    logging.getLogger(__name__).error("deposed: another coordinator has acquired the lease")
    os._exit(DEPOSED_EXIT_CODE)


@ray.remote
class CoordinatorActor:
    """Works from its constructor on. After a crash Ray restarts it, and it continues from the ledger."""

    def __init__(self, settings: CoordinatorSettings, namespace: str) -> None:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
        from shoal.cluster.coordinator.core import Coordinator
        from shoal.cluster.coordinator.fleet.ray_fleet import RayFleet
        from shoal.cluster.coordinator.service import CoordinatorService
        from shoal.workers.runtime import InternalServer, freeze_live_objects, return_large_buffers

        return_large_buffers()
        with retried_at_restart():
            self._coordinator = Coordinator(settings, RayFleet(settings, namespace), _leave)
            service = CoordinatorService(self._coordinator, settings.serve.index.shards)
            self._server = InternalServer(service.register, settings.credentials, ray.util.get_node_ip_address())
            address = self._server.start()
            asyncio.run_coroutine_threadsafe(self._coordinator.start(address), self._server.loop).result()
        freeze_live_objects()

    @ray.method
    def address(self) -> str:
        """Where CoordinatorService is served, host:port."""
        return self._server.address

    @ray.method
    def pid(self) -> int:
        """Process id of the actor."""
        return os.getpid()

    @ray.method
    def problems(self) -> list[Problem]:
        """What is wrong with ledger and storage; empty when all is well."""
        return list(self._coordinator.parts.problems.problems)

    @ray.method
    def stop(self) -> None:
        """Ends the coordinator's work and gives the lease back; workers keep running."""
        asyncio.run_coroutine_threadsafe(self._coordinator.stop(), self._server.loop).result(timeout=30)
        self._server.stop()
