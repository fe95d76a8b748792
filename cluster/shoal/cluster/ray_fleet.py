"""Worker processes as detached Ray actors: the one place that creates, finds and ends them."""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from shoal.cluster.coordinator.core import CoordinatorSettings
from shoal.cluster.coordinator.fleet import FleetError, Located, Member
from shoal.cluster.settings import threads_of
from shoal.workers.encoding.actor import EncoderActor
from shoal.workers.indexing.actor import IndexWorkerActor
from shoal.workers.indexing.manifest import ManifestInfo, SealedInfo
from shoal.workers.indexing.sealing import seal
from shoal.workers.indexing.storage import DamagedFile

LOCATE_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0
SEAL_TIMEOUT_S = 3600.0


@ray.remote(num_cpus=0.25, max_retries=2)
def _seal(storage_root: str, manifest: ManifestInfo) -> SealedInfo:
    return seal(storage_root, manifest)


class RayFleet:
    """A Fleet on the Ray cluster that this process has joined. Actors are detached: they outlive the coordinator."""

    def __init__(self, settings: CoordinatorSettings, namespace: str) -> None:
        self._settings = settings
        self._namespace = namespace

    def start(self, member: Member) -> None:
        """Makes sure that the member's actor exists; Ray restarts it whenever its process dies."""
        serve, secret = self._settings.serve, self._settings.secret
        shared: dict[str, Any] = {
            "name": member.name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            # So that an actor's address is told while another call waits.
            "max_concurrency": 4,
        }
        try:
            if member.kind == "index":
                IndexWorkerActor.options(**shared, num_cpus=serve.index.cpus).remote(
                    self._settings.storage_root, secret, threads_of(serve.index.threads)
                )
            else:
                EncoderActor.options(**shared, num_cpus=serve.encoder.cpus, num_gpus=serve.encoder.gpus).remote(
                    member.model, secret, serve.encoder.threads_per_replica
                )
        except RayError as error:
            raise FleetError(f"{member.name} cannot be started: {_line(error)}") from error

    def locate(self, member: Member) -> Located:
        """Asks the actor for its address; raises FleetError while Ray is (re)starting it."""
        try:
            handle = self._handle(member)
            address, pid = ray.get([handle.address.remote(), handle.pid.remote()], timeout=LOCATE_TIMEOUT_S)
        except GetTimeoutError as error:
            raise FleetError(f"{member.name} has not started yet") from error
        except (RayError, ValueError) as error:
            raise FleetError(f"{member.name} is down: {_line(error)}") from error
        return Located(address, pid, address.rpartition(":")[0])

    def stop(self, member: Member) -> None:
        """Lets the actor finish what is in flight, then ends it for good."""
        try:
            handle = self._handle(member)
        except ValueError:
            return
        try:
            ray.get(handle.stop.remote(), timeout=STOP_TIMEOUT_S)
        except RayError:
            pass  # It is dead or stuck, and is about to be ended anyway.
        ray.kill(handle, no_restart=True)

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

    def _handle(self, member: Member) -> ActorHandle[Any]:
        """Raises ValueError when there is no such actor."""
        return ray.get_actor(member.name, namespace=self._namespace)


def _line(error: BaseException) -> str:
    """The first line of an error: Ray's messages carry whole tracebacks."""
    if isinstance(error, RayActorError):
        return "its process has ended"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
