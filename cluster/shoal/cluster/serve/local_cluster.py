"""The cluster of one `shoal serve`: joins or starts Ray, starts coordinator and gateway, and stops everything in order."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.actor import CoordinatorActor
from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.decisions.access import administers
from shoal.cluster.gateway.actor import GatewayActor
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ledger.connection import migrate, open_engine
from shoal.cluster.ledger.reader import LedgerReader
from shoal.cluster.ray_runtime.environment import joins_cluster
from shoal.cluster.ray_runtime.named_actors import StillRunning, end_actors
from shoal.cluster.ray_runtime.session import RayUnavailable, connect_ray
from shoal.cluster.serve.data_folder import DataFolder
from shoal.cluster.settings import ServeSettings, split_listen
from shoal.workers.runtime import InternalCredentials, error_line, first_error_line

COORDINATOR = "coordinator"
GATEWAY = "gateway"
START_TIMEOUT_S = 120.0
LEAST_CORES = 4
"""CPUs that Ray assumes at least: on a machine with few cores, reservations must not keep any process from starting."""
END_S = 10.0
"""How long Ray may take to end actors, and their processes to release their ports."""
PORT_RETRY_S = 0.02
CANCEL_POLL_S = 0.2
PROBLEMS_TIMEOUT_S = 5.0
RETAIN_EVERY_S = 10.0
"""How often the gateway reports to the coordinator that a model is in use."""


class ServeError(Exception):
    """The cluster cannot be started. The message is one line."""


class StartCancelled(Exception):
    """The cluster was asked to stop before it was up; nothing is left running."""


class LocalCluster:
    """A running cluster, on the Ray cluster at RAY_ADDRESS or on a Ray that ends with this process."""

    def __init__(
        self,
        settings: ServeSettings,
        report: Callable[[str], None] = lambda _stage: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Starts everything and returns when the gateway accepts calls.

        `report` gets one line before each stage. `cancelled` is asked between stages and while the actors start. The
        processes of a Ray that is started here die with the calling thread.

        Raises StartCancelled, ServeError, DataFolderError or LedgerError; then nothing is left running.
        """
        self.settings = settings
        self._report = report
        self._cancelled = cancelled
        self._own_ray = not joins_cluster()
        self._gateway: Any = None
        self._coordinator: Any = None
        self._ports: list[_ReservedPort] = []
        self._stage(f"Opening {settings.data} ...")
        self.folder = DataFolder(Path(settings.data))
        try:
            retry_s = 0.0
            if not self._own_ray:
                self._start_ray()
                # Actors left by a killed `shoal serve` hold the port and the ledger, with their own settings. The lock on
                # the folder proves that no other serve uses them. Worker processes are kept and used again.
                if _end_actors(lambda name: name in (COORDINATOR, GATEWAY)):
                    retry_s = END_S
            self.listen = self._reserve(settings.listen, retry_s)
            self.metrics = self._reserve(settings.metrics, retry_s) if settings.metrics else ""
            _create_storage(self._storage_root)
            # Opened here first, so that errors of the ledger are reported in one line, and before Ray starts.
            engine = open_engine(self._ledger_url, read_only=False)
            migrate(engine)
            locked_out = settings.access == "keys" and not administers(LedgerReader(engine).keys(), wall_clock_ms())
            engine.dispose()
            if locked_out:
                raise ServeError(
                    "access = 'keys', but there is no valid API key of an administrator: first run "
                    "'shoal serve --access open' and 'shoal key create NAME --role admin'"
                )
            if self._own_ray:
                self._start_ray()
            self._start_actors()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """The address for clients."""
        return self.listen

    def stop(self) -> None:
        """Drains the gateway, then stops coordinator and workers, and Ray if it was started here."""
        try:
            if self._gateway is not None:
                with contextlib.suppress(RayError):
                    ray.get(self._gateway.drain.remote(self.settings.drain_s), timeout=self.settings.drain_s + 5)
            if self._coordinator is not None:
                with contextlib.suppress(RayError):
                    ray.get(self._coordinator.stop.remote(), timeout=10)
            if ray.is_initialized():
                try:
                    # Only in this cluster's namespace: other clusters may use the same Ray.
                    _end_actors(lambda _name: True)
                except (RayError, ServeError) as error:
                    logging.getLogger(__name__).warning("%s", error)
                ray.shutdown()
        finally:
            for port in self._ports:
                port.close()
            self.folder.close()

    @property
    def _ledger_url(self) -> str:
        return self.settings.ledger or self.folder.ledger_url

    @property
    def _storage_root(self) -> str:
        return self.settings.storage or self.folder.storage_root

    def problems(self) -> list[str]:
        """What is wrong with the cluster now, each in one line."""
        try:
            return [
                f"{one.part}: {one.message}"
                for one in ray.get(self._coordinator.problems.remote(), timeout=PROBLEMS_TIMEOUT_S)
            ]
        except RayError:
            # It restarts, or it waits for its lease.
            return [f"{COORDINATOR}: cannot be reached"]

    def _reserve(self, listen: str, retry_s: float) -> str:
        """Reserves a port until the cluster stops; retries for `retry_s` while the port is in use."""
        deadline = time.monotonic() + retry_s
        while True:
            try:
                port = _ReservedPort(listen)
            except ServeError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(PORT_RETRY_S)
            else:
                self._ports.append(port)
                return port.address

    def _stage(self, text: str) -> None:
        if self._cancelled():
            raise StartCancelled
        self._report(text)

    def _start_ray(self) -> None:
        self._stage("Starting Ray ..." if self._own_ray else "Joining Ray ...")
        try:
            connect_ray(LEAST_CORES, namespace=self.folder.name)
        except RayUnavailable as error:
            raise ServeError(str(error)) from error

    def _start_actors(self) -> None:
        """Both at once: the gateway finds the coordinator through the ledger, and answers once it is there."""
        self._stage("Starting the coordinator and the gateway ...")
        settings = CoordinatorSettings(
            ledger_url=self._ledger_url,
            storage_root=self._storage_root,
            credentials=InternalCredentials(self.folder.secret),
            holder=self.folder.name,
            serve=self.settings,
        )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        shared: dict[str, Any] = {
            "namespace": self.folder.name,
            "lifetime": "detached",
            "max_restarts": -1,
            "max_concurrency": 4,
            "num_cpus": 0,
            # The ledger may be a file on this machine.
            "scheduling_strategy": here,
        }
        self._coordinator = CoordinatorActor.options(name=COORDINATOR, **shared).remote(settings, self.folder.name)
        self._gateway = GatewayActor.options(name=GATEWAY, **shared).remote(
            GatewaySettings(
                listen=self.listen,
                ledger_url=self._ledger_url,
                credentials=InternalCredentials(self.folder.secret),
                name=GATEWAY,
                query_cache_bytes=self.settings.query_cache.limit_bytes,
                query_cache_entries=self.settings.query_cache.limit_entries,
                retain_every_s=min(RETAIN_EVERY_S, self.settings.encoder.idle_s / 4),
                keys_required=self.settings.access == "keys",
                metrics_listen=self.metrics,
            )
        )
        self._await(self._coordinator.address.remote(), "the coordinator")
        self._await(self._gateway.ready.remote(), "the gateway")

    def _await(self, answer: Any, name: str) -> None:
        """Returns once an actor answers. Raises StartCancelled, or ServeError when it fails or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ray.wait([answer], timeout=CANCEL_POLL_S)[0]:
            if self._cancelled():
                raise StartCancelled
            if time.monotonic() > deadline:
                raise ServeError(f"{name} did not start within {START_TIMEOUT_S:.0f} s")
        try:
            ray.get(answer)
        except ActorDiedError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise ServeError(f"{name} cannot start: {lines[-1].strip()}") from error
        except RayError as error:
            raise ServeError(f"{name} cannot start: {first_error_line(error)}") from error


def _end_actors(chosen: Callable[[str], bool]) -> bool:
    try:
        return end_actors(chosen, END_S)
    except StillRunning as error:
        raise ServeError(f"{error}: still running {END_S:g} s after Ray was told to stop it") from error


def _create_storage(root: str) -> None:
    """Creates a storage root on this machine; processes that start later find one, or something is wrong."""
    folder = unquote(urlsplit(root).path) if root.startswith("file://") else root
    if "://" not in folder:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServeError(f"storage {root}: {error_line(error)}") from error


class _ReservedPort:
    """A port that the machine does not assign to other processes until this is closed. A server can still bind it by number.

    A restarted gateway must come back at the address that clients know. Without the reservation the port could be taken: by
    Ray, which starts before the gateway and uses dozens of ports, or while a gateway that died restarts.
    """

    def __init__(self, listen: str) -> None:
        """Raises ServeError when the port of `listen` cannot be bound. Port 0 takes a free port."""
        host, port = split_listen(listen)
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        # With this option on both sockets, the server can bind the same port, because only one of the two listens.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self.close()
            raise ServeError(f"cannot listen on {listen}: {error_line(error)}") from error
        chosen = self._socket.getsockname()[1]
        self.address = f"[{host}]:{chosen}" if ":" in host else f"{host}:{chosen}"

    def close(self) -> None:
        """Releases the port."""
        self._socket.close()
