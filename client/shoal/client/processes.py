"""The processes of a cluster, as `Client.status` reports them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProcessKind(StrEnum):
    """What a process of the cluster does."""

    COORDINATOR = "coordinator"
    GATEWAY = "gateway"
    ENCODER = "encoder"
    """An encoder replica."""
    INDEX = "index"
    """An index worker."""
    UNKNOWN = "unknown"
    """A kind that this client does not know: the server is newer."""


class ProcessState(StrEnum):
    """The state of a process."""

    WAITING = "waiting"
    """Ray has not yet found the CPUs or GPUs that it needs."""
    STARTING = "starting"
    LOADING = "loading"
    """Its model is being loaded."""
    READY = "ready"
    DRAINING = "draining"
    """It finishes its work and gets no new work."""
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A state that this client does not know: the server is newer."""


@dataclass(frozen=True, slots=True)
class LoadInfo:
    """The queue of an encoder, and its speed in the last seconds."""

    waiting_texts: int
    waiting_tokens: int
    oldest_s: float
    """How long the oldest text has waited."""
    texts_per_s: float
    tokens_per_s: float
    busy: float
    """Share of the time that it spent computing, 0 to 1."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process of the cluster."""

    kind: ProcessKind
    name: str
    address: str
    state: ProcessState
    detail: str
    """The current step of loading, or the reason of the state, in plain text."""
    pid: int
    node: str
    model: str = ""
    """Encoders only, as are `device` and `load`."""
    device: str = ""
    load: LoadInfo | None = None
    restarts: int = 0
    """How often this process was replaced since the coordinator started."""


WorkerInfo = ProcessInfo
"""The former name of ProcessInfo."""
