"""The vocabulary of `liveness.py`: states, incoming events, outgoing requests and effects."""

from dataclasses import dataclass
from enum import StrEnum


class LivenessState(StrEnum):
    """What users and routing see of a process."""

    STARTING = "starting"
    WAITING = "waiting"
    """The cluster has no resources free for it."""
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    """Shown for a ready process that finishes its work and gets no more. The pool decides what drains."""
    UNREACHABLE = "unreachable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Why a model could not be loaded."""

    reason: str
    """One line."""
    may_pass: bool
    """It may pass by itself, as a lack of memory or the death of a process does. A broken file stays broken."""
    count: int = 1
    """How many attempts in a row have failed."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a process runs."""

    address: str
    pid: int
    node: str


# Events


@dataclass(frozen=True, slots=True)
class Started:
    """The process exists: it was created, or existed before."""


@dataclass(frozen=True, slots=True)
class Located:
    """The process was found."""

    location: Location


@dataclass(frozen=True, slots=True)
class NoRoomFound:
    """The process waits for resources."""

    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The process could not be started or found."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """The process reported its state: loading, ready or failed."""

    state: LivenessState
    detail: str = ""
    may_pass: bool = False
    """Whether the reason of a failed state may pass by itself."""


@dataclass(frozen=True, slots=True)
class ProbeSilent:
    """The process did not answer within `probe_timeout_s`."""


@dataclass(frozen=True, slots=True)
class ProbeRefused:
    """The connection to the process failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suspected:
    """A call to the process failed."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause is over, or was cut short."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The process was killed, or could not be."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The process is gone for good and its name is free."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """The request failed because of a defect; supervision must go on."""


Event = (
    Started
    | Located
    | NoRoomFound
    | Missing
    | ProbeAnswered
    | ProbeSilent
    | ProbeRefused
    | Suspected
    | Paused
    | Replaced
    | Ended
    | Crashed
)


# Requests, each answered by one event


@dataclass(frozen=True, slots=True)
class Start:
    """Answered by Started, NoRoomFound or Missing."""


@dataclass(frozen=True, slots=True)
class Locate:
    """Answered by Located, NoRoomFound or Missing."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Answered by ProbeAnswered, ProbeSilent or ProbeRefused."""

    location: Location


@dataclass(frozen=True, slots=True)
class Pause:
    """Answered by Paused."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Replace:
    """Kill the process so that another takes its place. Answered by Replaced."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """End the process for good. Answered by Ended."""


Request = Start | Locate | Probe | Pause | Replace | End


# Effects, carried out before the next request


@dataclass(frozen=True, slots=True)
class Announce:
    """State, detail or location has changed."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the channel to an address where the process no longer runs."""

    address: str


@dataclass(frozen=True, slots=True)
class EndPause:
    """Cut the running pause short."""


Effect = Announce | Disconnect | EndPause
