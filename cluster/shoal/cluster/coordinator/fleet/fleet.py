"""What the coordinator asks of whatever runs worker processes. Ray is behind it in a cluster, plain objects in tests."""

from dataclasses import dataclass
from typing import Literal, Protocol

from shoal.workers.indexing import ManifestInfo, SealedInfo


class FleetError(Exception):
    """A worker cannot be started or reached now; the message is one line."""


class NoRoom(FleetError):
    """The cluster has no resources free for a worker now; it starts when there are. The message says what it waits for,
    such as "for 1 GPU: 0 of 2 are free"."""


@dataclass(frozen=True, slots=True)
class Member:
    """A worker process that should exist."""

    name: str
    kind: Literal["index", "encoder"]
    model: str = ""
    """What an encoder serves."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where a member runs now."""

    address: str
    pid: int
    node: str


class Fleet(Protocol):
    """Starts, finds and stops worker processes. All methods block and may be called from several threads."""

    def start(self, member: Member) -> None:
        """Makes sure that the member exists; one that is there already is kept."""
        ...

    def locate(self, member: Member) -> Located:
        """Where the member is now; raises FleetError while it is down or starting, NoRoom while it waits for resources."""
        ...

    def restart(self, member: Member) -> None:
        """Ends the member's process by force, whatever it is doing; another takes its place."""
        ...

    def stop(self, member: Member) -> None:
        """Ends the member for good and returns when it is gone, so that its name is free; one that is gone already is fine.

        Raises FleetError when it is still there, and may be ended once more.
        """
        ...

    def existing(self) -> list[str]:
        """Names of all members that exist, whoever started them."""
        ...

    def seal(self, manifest: ManifestInfo) -> SealedInfo:
        """Merges a shard's files into a new sealed index, somewhere with room for it.

        Raises FleetError, or DamagedFile of shoal.workers.indexing when a file of the manifest is damaged.
        """
        ...
