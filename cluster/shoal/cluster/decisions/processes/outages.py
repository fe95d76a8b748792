"""Why a model cannot be served now. Pure: the states of its replicas come in, a reason or None goes out.

Search, waiting writes, embedding, status and explain all say what is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from shoal.cluster.decisions.processes.liveness_events import LivenessState, LoadFailure

RETRY_AFTER_MS = 1000


class ReplicaStanding(Protocol):
    """What this decision needs to know about an encoder replica."""

    @property
    def state(self) -> LivenessState: ...
    @property
    def draining(self) -> bool: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def failure(self) -> LoadFailure | None: ...
    @property
    def detail(self) -> str: ...


class OutageKind(Enum):
    """What has to happen before the model is served."""

    BROKEN = "broken"
    """It cannot be loaded; its files or its name must be changed."""
    PASSING = "passing"
    """It could not be loaded, for a reason that may pass by itself."""
    CHANGED = "changed"
    """Its files are not those of the collection."""
    NO_ROOM = "no room"
    """The cluster has no resources free for a replica."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Calls that need the model are refused at once."""

    kind: OutageKind
    reason: str
    """One line that names the model."""

    @property
    def retry_after_ms(self) -> int:
        """When a retry may succeed; 0 when something must be changed first."""
        return RETRY_AFTER_MS if self.kind in (OutageKind.PASSING, OutageKind.NO_ROOM) else 0


def outage(model: str, wanted: str, replicas: Sequence[ReplicaStanding]) -> Outage | None:
    """Why no replica can answer now; None if one can, or may soon: it starts, loads, or is out of reach for a moment.

    `wanted` is the fingerprint that the vectors must have; "" takes any.
    """
    present = [one for one in replicas if not one.draining]
    if any(one.state is LivenessState.READY and wanted in ("", one.fingerprint) for one in present):
        return None
    ready = [one for one in present if one.state is LivenessState.READY]
    # A replica that was right and is being probed or loaded again may be right again.
    if ready and not any(one.fingerprint == wanted and one.failure is None for one in present):
        found = ready[0].fingerprint
        reason = f"its files have changed: fingerprint {wanted} is wanted, {found} is there"
        return Outage(OutageKind.CHANGED, f"model {model!r}: {reason}")
    failures = [one.failure for one in present if one.failure is not None]
    if failures and not ready:
        # All replicas load the same files: what broke one of them will break the others.
        failure = min(failures, key=lambda one: (one.may_pass, -one.count))
        times = f" ({failure.count} times)" if failure.count > 1 else ""
        kind = OutageKind.PASSING if failure.may_pass else OutageKind.BROKEN
        return Outage(kind, f"model {model!r}: {failure.reason}{times}")
    waiting = [one for one in present if one.state is LivenessState.WAITING]
    if waiting and len(waiting) == len(present):
        return Outage(OutageKind.NO_ROOM, f"model {model!r} waits {waiting[0].detail}")
    return None
