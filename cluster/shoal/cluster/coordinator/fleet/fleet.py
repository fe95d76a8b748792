"""The interface to whatever runs worker processes: Ray in a cluster, plain objects in tests."""

from dataclasses import dataclass
from typing import Literal, Protocol

from shoal.cluster.decisions.processes.liveness_events import Location
from shoal.workers.indexing import ManifestInfo, SealedInfo


class FleetError(Exception):
    """A process cannot be started or reached now; the message is one line."""


class NoRoom(FleetError):
    """The cluster has no free resources for a process; it starts as soon as there are.

    The message says what is missing, such as "for 1 GPU: 0 of 2 are free".
    """


@dataclass(frozen=True, slots=True)
class Member:
    """A worker process that should exist."""

    name: str
    kind: Literal["index", "encoder"]
    model: str = ""
    """What an encoder serves."""


class Fleet(Protocol):
    """Starts, locates and stops worker processes. All methods block and may be called from several threads."""

    def start(self, member: Member) -> None:
        """Makes sure that the member exists; one that exists already is kept."""
        ...

    def locate(self, member: Member) -> Location:
        """Where the member runs; raises FleetError while it is down or starting, NoRoom while it waits for resources."""
        ...

    def restart(self, member: Member) -> None:
        """Kills the member's process, whatever it is doing; another takes its place."""
        ...

    def stop(self, member: Member) -> None:
        """Ends the member for good and returns when it is gone, so that its name is free. It may be gone already.

        Raises FleetError when it is still running; the caller may try again.
        """
        ...

    def existing(self) -> list[str]:
        """Names of all members that exist, whoever started them."""
        ...

    def seal(self, manifest: ManifestInfo) -> SealedInfo:
        """Merges a shard's files into a new sealed index, wherever there is room.

        Raises FleetError, or DamagedFile of shoal.workers.indexing when a file of the manifest is damaged.
        """
        ...
