"""Worker processes as detached Ray actors: the only module that creates, locates and ends them."""

from __future__ import annotations

import threading
import time
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import list_named_actors

from shoal.cluster.coordinator.fleet.fleet import FleetError, Member, NoRoom
from shoal.cluster.coordinator.settings import CoordinatorSettings
from shoal.cluster.decisions.processes.liveness_events import Location
from shoal.cluster.ray_runtime.named_actors import StillRunning, end_actors
from shoal.workers.encoding import EncoderActor
from shoal.workers.indexing import DamagedFile, IndexWorkerActor, ManifestInfo, SealedInfo, seal
from shoal.workers.runtime import first_error_line

LOCATE_TIMEOUT_S = 0.5
START_S = 5.0
"""How long an actor may take to start once it has its resources. Before that, a lack of resources is not reported, unless
they were lacking before it was created."""
STOP_TIMEOUT_S = 5.0
"""How long an actor has to finish its calls in flight, and then Ray to end it."""
SEAL_TIMEOUT_S = 3600.0


@ray.remote(num_cpus=0.25, max_retries=2)
def _seal(storage_root: str, manifest: ManifestInfo) -> SealedInfo:
    return seal(storage_root, manifest)


class RayFleet:
    """A Fleet on the Ray cluster that this process has joined. Its actors are detached, so they outlive the coordinator."""

    def __init__(self, settings: CoordinatorSettings, namespace: str) -> None:
        self._settings = settings
        self._namespace = namespace
        self._pending: dict[str, list[Any]] = {}
        """Unanswered calls for an actor's address and process id. Kept, so that they do not pile up at the actor."""
        self._missing_since_s: dict[str, float] = {}
        """By actor name; on the monotonic clock."""
        self._lock = threading.Lock()

    def start(self, member: Member) -> None:
        """Makes sure that the member's actor exists. Ray restarts it whenever its process dies."""
        serve, credentials = self._settings.serve, self._settings.credentials
        if not self._exists(member) and self._lacking(member):
            # It holds nothing yet, so the lack is no effect of its own start: it is reported at once.
            with self._lock:
                self._missing_since_s.setdefault(member.name, time.monotonic() - START_S)
        shared: dict[str, Any] = {
            "name": member.name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            # An actor answers calls for its address while another call waits.
            "max_concurrency": 4,
            **self._resources(member),
        }
        try:
            if member.kind == "index":
                IndexWorkerActor.options(**shared).remote(self._settings.storage_root, credentials, serve.index.threads)
            else:
                # Spread over the machines, so that the loss of one costs few replicas.
                EncoderActor.options(**shared, scheduling_strategy="SPREAD").remote(
                    member.model, credentials, serve.encoder.threads_wanted, serve.encoder.pool.most
                )
        except RayError as error:
            raise FleetError(f"{member.name} cannot be started: {_line(error)}") from error

    def locate(self, member: Member) -> Location:
        """Asks the actor for its address without waiting long; a later call may get the answer."""
        try:
            calls = self._address_calls(member)
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=LOCATE_TIMEOUT_S)
            if len(ready) < len(calls):
                self._check_room(member)
                raise FleetError(f"{member.name} has not started yet")
            self._forget(member)
            address, pid = ray.get(calls)
        except (RayError, ValueError) as error:
            self._forget(member)
            self._check_room(member)
            raise FleetError(f"{member.name} is down: {_line(error)}") from error
        with self._lock:
            self._missing_since_s.pop(member.name, None)
        return Location(address, pid, address.rpartition(":")[0])

    def restart(self, member: Member) -> None:
        """Kills the actor's process, even if it hangs; Ray starts another."""
        self._forget(member)
        try:
            ray.kill(self._handle(member), no_restart=False)
        except (RayError, ValueError) as error:
            raise FleetError(_line(error)) from error

    def existing(self) -> list[str]:
        """Names of all actors of this cluster that are not dead, coordinator and gateways among them."""
        try:
            return [str(name) for name in list_named_actors()]
        except RayError as error:
            raise FleetError(_line(error)) from error

    def stop(self, member: Member) -> None:
        """Lets the actor finish its calls in flight, then ends it for good."""
        self._forget(member)
        with self._lock:
            self._missing_since_s.pop(member.name, None)
        try:
            handle = self._handle(member)
            try:
                ray.get(handle.stop.remote(), timeout=STOP_TIMEOUT_S)
            except RayError:
                pass  # It is dead or hangs; either way it is ended next.
            end_actors(lambda name: name == member.name, STOP_TIMEOUT_S)
        except ValueError:
            return
        except StillRunning as error:
            raise FleetError(f"{error} is still running {STOP_TIMEOUT_S:g} s after it was told to stop") from error
        except RayError as error:
            raise FleetError(f"{member.name} cannot be ended: {_line(error)}") from error

    def seal(self, manifest: ManifestInfo) -> SealedInfo:
        """Merges a shard's files in a Ray task."""
        try:
            return ray.get(_seal.remote(self._settings.storage_root, manifest), timeout=SEAL_TIMEOUT_S)
        except RayTaskError as error:
            if isinstance(error.cause, DamagedFile):
                raise error.cause from error
            raise FleetError(_line(error.cause)) from error
        except RayError as error:
            raise FleetError(_line(error)) from error

    def _address_calls(self, member: Member) -> list[Any]:
        with self._lock:
            calls = self._pending.get(member.name)
            if calls is None:
                handle = self._handle(member)
                calls = self._pending[member.name] = [handle.address.remote(), handle.pid.remote()]
        return calls

    def _forget(self, member: Member) -> None:
        with self._lock:
            self._pending.pop(member.name, None)

    def _resources(self, member: Member) -> dict[str, float]:
        serve = self._settings.serve
        if member.kind == "index":
            return {"num_cpus": serve.index.cpus}
        return {"num_cpus": serve.encoder.cpus, "num_gpus": serve.encoder.gpus}

    def _check_room(self, member: Member) -> None:
        """Raises NoRoom when the actor has not started because the cluster has no free resources for it.

        A starting actor holds its resources already, so a lack of free ones means nothing until it should have started.
        """
        now_s = time.monotonic()
        with self._lock:
            missing_s = now_s - self._missing_since_s.setdefault(member.name, now_s)
        if missing_s < START_S:
            return
        if reason := self._lacking(member):
            raise NoRoom(reason)
        with self._lock:
            # There is room now. If there is none later, the actor has probably taken it, and is starting.
            self._missing_since_s[member.name] = now_s

    def _lacking(self, member: Member) -> str:
        """Which resources are not free for a member; empty if all are."""
        needed = self._resources(member)
        free, total = ray.available_resources(), ray.cluster_resources()
        for name, kind in (("GPU", "num_gpus"), ("CPU", "num_cpus")):
            amount = needed.get(kind, 0.0)
            if free.get(name, 0.0) < amount:
                return f"for {amount:g} {name}: {free.get(name, 0.0):g} of {total.get(name, 0.0):g} are free"
        return ""

    def _exists(self, member: Member) -> bool:
        try:
            self._handle(member)
        except ValueError:
            return False
        return True

    def _handle(self, member: Member) -> ActorHandle[Any]:
        """Raises ValueError if the actor does not exist."""
        return ray.get_actor(member.name, namespace=self._namespace)


def _line(error: BaseException) -> str:
    """The first line of an error: Ray's messages carry whole tracebacks."""
    if isinstance(error, RayActorError):
        return "its process has ended"
    return first_error_line(error)
