"""The gateway in a process: an event loop on a thread, the servers on it, start and graceful shutdown."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.errors import ListenError
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.core import GatewayCore
from shoal.cluster.gateway.grpc.public_server import PublicServer
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ledger.connection import open_engine
from shoal.cluster.settings import split_listen
from shoal.workers.runtime import LoopThread, error_line

if TYPE_CHECKING:
    from shoal.cluster.gateway.metrics import MetricsServer

START_S = 30.0


class GatewayServer:
    """Serves the public API from a daemon thread. Plain callers (an actor's constructor, a test) need no event loop."""

    def __init__(self, settings: GatewaySettings, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._thread: LoopThread | None = None
        self._core: GatewayCore | None = None
        self._public: PublicServer | None = None
        self._metrics: MetricsServer | None = None
        self._routed = threading.Event()
        self.address = ""

    def start(self) -> str:
        """Starts serving and returns `host:port`.

        Raises ListenError when a port cannot be bound, LedgerUnreadable when there is no ledger to read, SettingsError
        when `listen` is not HOST:PORT.
        """
        host, port = split_listen(self._settings.listen)
        _check_free(host, port)
        reads = LedgerReads(open_engine(self._settings.ledger_url, read_only=True))
        thread = self._thread = LoopThread("shoal-gateway")
        thread.start()
        try:
            self._core, self._public, self.address = thread.run(self._serve(reads), START_S)
        except BaseException:
            reads.close()
            thread.end()
            raise
        if self._settings.metrics_listen:
            try:
                self._metrics = self._serve_metrics(self._core)
            except BaseException:
                self.drain(0)
                raise
        return self.address

    @property
    def metrics_address(self) -> str:
        """Where metrics are served; empty when they are not."""
        return self._metrics.address if self._metrics is not None else ""

    def wait_routed(self, within_s: float) -> bool:
        """Returns when the gateway knows where the coordinator is, or False after `within_s`."""
        return self._routed.wait(within_s)

    def drain(self, grace_s: float) -> None:
        """Stops accepting, lets calls in flight end within `grace_s`, then closes everything. A second call does nothing."""
        core, public = self._core, self._public
        self._core = self._public = None
        if core is None or public is None or self._thread is None:
            return
        self._thread.run(_end(core, public, grace_s), grace_s + START_S)
        if self._metrics is not None:
            self._metrics.stop()
        self._thread.end()

    async def _serve(self, reads: LedgerReads) -> tuple[GatewayCore, PublicServer, str]:
        core = GatewayCore(self._settings, reads, self._now_ms)
        public = PublicServer(core, self._settings)
        address = await public.start()

        async def routed() -> None:
            await public.set_healthy()
            self._routed.set()

        core.follow_coordinator(routed)
        return core, public, address

    def _serve_metrics(self, core: GatewayCore) -> MetricsServer:
        # Imported only where metrics are wanted.
        from shoal.cluster.gateway.metrics import GatewayCollector, MetricsServer

        return MetricsServer(
            self._settings.metrics_listen, GatewayCollector(core.counts, core.cache, core.view, core.memory, core.parser)
        )


async def _end(core: GatewayCore, public: PublicServer, grace_s: float) -> None:
    await public.drain(grace_s)
    await core.close()


def _check_free(host: str, port: int) -> None:
    """Raises ListenError with the reason why a port cannot be bound; gRPC itself gives none."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gRPC does, so that a port just left by another server can be taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ListenError(f"cannot listen on {host}:{port}: {error_line(error)}") from error
