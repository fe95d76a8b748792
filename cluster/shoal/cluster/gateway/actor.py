"""The gateway as a Ray actor: a thin shell that hosts a GatewayServer.

The constructor imports it: `shoal serve` needs only the class, and starts sooner.
"""

from __future__ import annotations

import os

import ray

from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ray_runtime.restarts import retried_at_restart

ROUTED_S = 60.0
"""How long the gateway may take to reach the coordinator."""


@ray.remote
class GatewayActor:
    """Serves from its constructor on; a port that cannot be bound fails the constructor."""

    def __init__(self, settings: GatewaySettings) -> None:
        from shoal.cluster.gateway.server import GatewayServer
        from shoal.workers.runtime import freeze_live_objects, return_large_buffers

        return_large_buffers()
        with retried_at_restart():
            self._server = GatewayServer(settings)
            self._server.start()
        freeze_live_objects()

    @ray.method
    def address(self) -> str:
        """Where clients connect, host:port."""
        return self._server.address

    @ray.method
    def ready(self) -> bool:
        """Returns when calls can be answered: True once the coordinator has been reached, False if that takes too long."""
        return self._server.wait_routed(ROUTED_S)

    @ray.method
    def pid(self) -> int:
        """Process id of the actor."""
        return os.getpid()

    @ray.method
    def drain(self, grace_s: float) -> None:
        """Stops accepting, lets calls in flight end within `grace_s`, and closes the server."""
        self._server.drain(grace_s)
