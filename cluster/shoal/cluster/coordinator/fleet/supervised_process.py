"""A worker process as the coordinator knows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from shoal.cluster.coordinator.fleet.fleet import Member
from shoal.cluster.decisions.processes.liveness import Liveness, shown_state
from shoal.cluster.decisions.processes.liveness_events import LivenessState, LoadFailure
from shoal.cluster.decisions.processes.load import LoadMeter, ReplicaLoad


@dataclass(slots=True)
class SupervisedProcess:
    """A member, whether it is up, and what its last probe said."""

    member: Member
    liveness: Liveness
    fingerprint: str = ""
    dimension: int = 0
    device: str = ""
    load: ReplicaLoad = field(default_factory=ReplicaLoad)
    meter: LoadMeter = field(default_factory=LoadMeter)
    draining: bool = False
    """It finishes its work, gets no more, and is then ended."""
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to cut a pause between probes short."""
    task: asyncio.Task[None] | None = None

    @property
    def state(self) -> LivenessState:
        """Starting, waiting, loading, ready, unreachable or failed."""
        return self.liveness.state

    @property
    def shown_state(self) -> LivenessState:
        """The state as users see it, which may be draining."""
        return shown_state(self.state, self.draining)

    @property
    def ready(self) -> bool:
        """True while it answers and may be given work."""
        return self.state is LivenessState.READY and not self.draining

    @property
    def detail(self) -> str:
        """Why it is not ready, or how far its model has loaded; only displayed."""
        return self.liveness.detail

    @property
    def failure(self) -> LoadFailure | None:
        """Why its model could not be loaded at the last attempt; None once it is ready."""
        return self.liveness.failure

    @property
    def address(self) -> str:
        """Where it answered last, host:port; empty until then."""
        return self.liveness.confirmed.address if self.liveness.confirmed else ""

    @property
    def pid(self) -> int:
        """The id of the process that answered last; 0 until then."""
        return self.liveness.confirmed.pid if self.liveness.confirmed else 0

    @property
    def node(self) -> str:
        """The machine on which it answered last; empty until then."""
        return self.liveness.confirmed.node if self.liveness.confirmed else ""

    @property
    def restarts(self) -> int:
        """How often another process has taken its place."""
        return self.liveness.restarts

    @property
    def last_ready_s(self) -> float:
        """When it was last seen ready, on the event loop's clock; the time it was added, if never."""
        return self.liveness.last_ready_s
