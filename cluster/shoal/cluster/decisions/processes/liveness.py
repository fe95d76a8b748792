"""Whether a process is up, and what to do when it is not. Pure: events and times in, one next request and effects out.

A process is started, located and then probed for as long as it lives. Each request is answered by exactly one event, and
each answer leads to the next request, so no state is a dead end. `Suspected` is the one event that answers no request.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum

from shoal.cluster.decisions.processes.liveness_events import (
    Announce,
    Crashed,
    Disconnect,
    Effect,
    End,
    Ended,
    EndPause,
    Event,
    LivenessState,
    LoadFailure,
    Locate,
    Located,
    Location,
    Missing,
    NoRoomFound,
    Pause,
    Paused,
    Probe,
    ProbeAnswered,
    ProbeRefused,
    ProbeSilent,
    Replace,
    Replaced,
    Request,
    Start,
    Started,
    Suspected,
)


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """Pauses, timeouts and limits of supervision."""

    probe_s: float = 0.5
    """Pause between two probes of a ready process."""
    probe_timeout_s: float = 5.0
    """A probe without an answer for this long counts as silent."""
    locate_pause_s: float = 0.2
    """Pause between attempts to locate a process, and between probes while it loads."""
    locates_per_start: int = 50
    """A process that is not found is started again after this many attempts. Starting keeps one that exists."""
    failed_pause_s: float = 15.0
    """Pause before a model that could not be loaded is loaded again: its files may be repaired by then. It doubles."""
    passing_pause_s: float = 1.0
    """The same pause when the reason may pass by itself."""
    longest_pause_s: float = 120.0
    """The longest such pause."""
    lost_loads: int = 2
    """A model that has been served counts as failed once this many processes in a row died while they loaded it: one death
    may have come from outside. A model that never was served counts as failed at the first death."""
    hung_s: float = 30.0
    """An encoder that was ready and then stays silent this long is replaced.

    Counted in consecutive probes, not on the clock: a pause of the coordinator itself costs only the probes in flight.
    """
    hung_loading_s: float = 120.0
    """The same limit before the process has been ready: some steps of loading let nothing else run."""
    lost_start_s: float = 300.0
    """A process that cannot be located this long, though the cluster has room for it, is replaced."""

    def silence_limit(self, was_ready: bool) -> tuple[int, float]:
        """How many silent probes in a row replace an encoder, and how many seconds that is."""
        limit_s = self.hung_s if was_ready else self.hung_loading_s
        return math.ceil(limit_s / self.probe_timeout_s), limit_s

    def load_pause_s(self, failure: LoadFailure) -> float:
        """The pause after a failed attempt to load."""
        first_s = self.passing_pause_s if failure.may_pass else self.failed_pause_s
        return min(self.longest_pause_s, first_s * 2.0 ** min(failure.count - 1, 60))


class LivenessStep(Enum):
    """The request that is being carried out."""

    START = "start"
    LOCATE = "locate"
    PAUSE_BEFORE_LOCATE = "pause before locate"
    PROBE = "probe"
    PAUSE_BEFORE_PROBE = "pause before probe"
    RELOCATE = "relocate"
    """After a silent probe: has another process taken its place?"""
    REPLACE_LOST = "replace lost"
    REPLACE_HUNG = "replace hung"
    PAUSE_BEFORE_END = "pause before end"
    END = "end"
    PAUSE_BEFORE_START = "pause before start"
    """The model could not be loaded, and the process has ended."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """The supervision state of one process."""

    must_answer: bool
    """Encoders answer probes whatever they do. Index workers may be silent while they read large files."""
    last_ready_s: float
    """When it was last seen ready; the time it was added, if never."""
    step: LivenessStep = LivenessStep.START
    state: LivenessState = LivenessState.STARTING
    detail: str = ""
    """Why it is not ready, or how far its model has loaded; only displayed."""
    confirmed: Location | None = None
    """Where it answered last."""
    probed: Location | None = None
    """Where it is being probed."""
    restarts: int = 0
    """How often another process has taken its place."""
    was_ready: bool = False
    """The process at `confirmed` has been ready."""
    silent_probes: int = 0
    """Consecutive."""
    missing_since_s: float | None = None
    """Since when it could not be located."""
    locates_left: int = 0
    """Attempts to locate it until it is started again."""
    served: bool = False
    """It has been ready, in this process or an earlier one."""
    loading: bool = False
    """The process at `probed` has not been ready yet."""
    broken: bool = False
    """It is no longer where it was probed."""
    lost_loads: int = 0
    """How many processes in a row died while they loaded the model, without counting as a failure."""
    failure: LoadFailure | None = None
    """Why the model could not be loaded at the last attempt; kept during the next ones, until it is ready."""
    suspected: bool = False
    """A call has failed since the last probe began: probe again at once."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What follows from an event."""

    liveness: Liveness
    request: Request | None
    """The next request; None while the one before is still being carried out."""
    effects: tuple[Effect, ...] = ()


def begin(must_answer: bool, now_s: float) -> Transition:
    """A process that should exist."""
    return Transition(Liveness(must_answer, now_s), Start())


def advance(liveness: Liveness, event: Event, now_s: float, policy: LivenessPolicy) -> Transition:
    """What follows from an event. Raises ValueError for an event that does not answer the request under way."""
    match liveness.step, event:
        case step, Suspected():
            return _suspected(liveness, step)
        case LivenessStep.START, Started():
            return _locate(replace(liveness, locates_left=policy.locates_per_start))
        case LivenessStep.LOCATE, (Located() | Missing() | NoRoomFound()) as event if _died_loading(liveness, event):
            return _load_lost(liveness, event, now_s, policy)
        case LivenessStep.LOCATE, Located(location):
            left = liveness.locates_left - 1
            loading = liveness.must_answer and (liveness.loading or location != liveness.probed)
            liveness = replace(liveness, locates_left=left, missing_since_s=None, probed=location, silent_probes=0)
            return _probe(replace(liveness, loading=loading, broken=False))
        case (LivenessStep.START | LivenessStep.LOCATE) as step, (NoRoomFound() | Missing()) as event:
            tried = 1 if step is LivenessStep.LOCATE else 0
            liveness = replace(liveness, locates_left=liveness.locates_left - tried)
            return _not_found(liveness, event, now_s, policy)
        case LivenessStep.PAUSE_BEFORE_LOCATE, Paused():
            return _locate(liveness)
        case LivenessStep.PROBE, ProbeAnswered() as answer:
            return _answered(liveness, answer, now_s, policy)
        case LivenessStep.PROBE, (ProbeSilent() | ProbeRefused()) as event:
            return _unanswered(liveness, event, now_s, policy)
        case LivenessStep.PAUSE_BEFORE_PROBE, Paused():
            return _probe(liveness)
        case LivenessStep.RELOCATE, Located(location) if location != liveness.probed:
            return _lost(liveness, policy)
        case LivenessStep.RELOCATE, Located() | NoRoomFound() | Missing():
            return _silent(liveness, now_s, policy)
        case LivenessStep.REPLACE_LOST, Replaced():
            return _pause_before_locate(liveness, policy)
        case LivenessStep.REPLACE_HUNG, Replaced():
            return _lost(liveness, policy)
        case LivenessStep.PAUSE_BEFORE_END, Paused():
            return Transition(replace(liveness, step=LivenessStep.END), End())
        case LivenessStep.END, Ended():
            assert liveness.failure is not None
            pause = Pause(policy.load_pause_s(liveness.failure))
            return Transition(replace(liveness, step=LivenessStep.PAUSE_BEFORE_START), pause)
        case LivenessStep.PAUSE_BEFORE_START, Paused():
            return _locate(replace(liveness, locates_left=0))
        case LivenessStep.END, Crashed():
            # Its name is not free: it must be ended before another is started.
            return Transition(replace(liveness, step=LivenessStep.PAUSE_BEFORE_END), Pause(policy.locate_pause_s))
        case LivenessStep.LOCATE, Crashed():
            return _pause_before_locate(replace(liveness, locates_left=liveness.locates_left - 1), policy)
        case _, Crashed():
            return _pause_before_locate(liveness, policy)
    raise ValueError(f"{type(event).__name__} does not answer the step {liveness.step.value!r}")


def shown_state(state: LivenessState, draining: bool) -> LivenessState:
    """The state as users see it."""
    return LivenessState.DRAINING if draining and state is LivenessState.READY else state


def _suspected(liveness: Liveness, step: LivenessStep) -> Transition:
    # Unreachable until the next probe answers: otherwise the next callers would blame their own documents for the failure.
    if liveness.state is LivenessState.READY:
        liveness = replace(liveness, state=LivenessState.UNREACHABLE, detail="a call failed to reach it")
    ends_pause = (EndPause(),) if step is LivenessStep.PAUSE_BEFORE_PROBE else ()
    return Transition(replace(liveness, suspected=True), None, ends_pause)


def _not_found(liveness: Liveness, event: NoRoomFound | Missing, now_s: float, policy: LivenessPolicy) -> Transition:
    if isinstance(event, NoRoomFound):
        liveness = replace(liveness, missing_since_s=None)
        liveness, effects = _seen(liveness, LivenessState.WAITING, event.reason, now_s)
        return _pause_before_locate(liveness, policy, effects)
    since_s = now_s if liveness.missing_since_s is None else liveness.missing_since_s
    state = LivenessState.STARTING if liveness.confirmed is None else LivenessState.UNREACHABLE
    liveness, effects = _seen(replace(liveness, missing_since_s=since_s), state, event.reason, now_s)
    if now_s - since_s <= policy.lost_start_s:
        return _pause_before_locate(liveness, policy, effects)
    why = f"it could not be reached for {policy.lost_start_s:.0f} s"
    return _replace(replace(liveness, missing_since_s=None), LivenessStep.REPLACE_LOST, why, now_s, effects)


def _died_loading(liveness: Liveness, event: Located | Missing | NoRoomFound) -> bool:
    """Whether the process that was loading the model is gone."""
    return liveness.loading and liveness.broken and not (isinstance(event, Located) and event.location == liveness.probed)


def _load_lost(
    liveness: Liveness, event: Located | Missing | NoRoomFound, now_s: float, policy: LivenessPolicy
) -> Transition:
    liveness = replace(liveness, loading=False, lost_loads=liveness.lost_loads + 1)
    if liveness.served and liveness.lost_loads < policy.lost_loads:
        return advance(liveness, event, now_s, policy)
    # It is ended, although Ray would start another: that one may die as well, and would hold its place meanwhile.
    return _failed(liveness, "its process died while it loaded the model", True, now_s, policy)


def _failed(
    liveness: Liveness,
    reason: str,
    may_pass: bool,
    now_s: float,
    policy: LivenessPolicy,
) -> Transition:
    """The process is ended at once, so that its place is free, and another is started after a pause."""
    failure = LoadFailure(reason, may_pass, 1 if liveness.failure is None else liveness.failure.count + 1)
    detail = f"{reason}; next attempt after {policy.load_pause_s(failure):g} s"
    liveness, effects = _seen(liveness, LivenessState.FAILED, detail, now_s)
    liveness = replace(liveness, step=LivenessStep.END, failure=failure, loading=False, probed=None)
    return Transition(liveness, End(), effects)


def _answered(liveness: Liveness, answer: ProbeAnswered, now_s: float, policy: LivenessPolicy) -> Transition:
    state = answer.state
    before, here = liveness.confirmed, liveness.probed
    moved = before is None or here is None or (before.address, before.pid) != (here.address, here.pid)
    liveness = replace(
        liveness,
        confirmed=here,
        restarts=liveness.restarts + (moved and before is not None),
        was_ready=state is LivenessState.READY or (liveness.was_ready and not moved),
        silent_probes=0,
    )
    if state is LivenessState.FAILED:
        return _failed(liveness, answer.detail, answer.may_pass, now_s, policy)
    if state is LivenessState.READY:
        liveness = replace(liveness, served=True, loading=False, lost_loads=0, failure=None)
    liveness, effects = _seen(liveness, state, answer.detail, now_s, moved)
    if liveness.suspected:
        return _probe(liveness, effects)
    pause_s = policy.probe_s if state is LivenessState.READY else policy.locate_pause_s
    return Transition(replace(liveness, step=LivenessStep.PAUSE_BEFORE_PROBE), Pause(pause_s), effects)


def _unanswered(liveness: Liveness, event: ProbeSilent | ProbeRefused, now_s: float, policy: LivenessPolicy) -> Transition:
    silent = isinstance(event, ProbeSilent)
    reason = "it does not answer" if silent else event.reason
    liveness, effects = _seen(liveness, LivenessState.UNREACHABLE, reason, now_s)
    if silent and liveness.must_answer:
        # Its channel stays open and calls to it go on: it may only be slow.
        liveness = replace(liveness, step=LivenessStep.RELOCATE, silent_probes=liveness.silent_probes + 1)
        return Transition(liveness, Locate(), effects)
    return _lost(liveness, policy, effects)


def _silent(liveness: Liveness, now_s: float, policy: LivenessPolicy) -> Transition:
    limit, limit_s = policy.silence_limit(liveness.was_ready)
    if liveness.silent_probes < limit:
        return _probe(liveness)
    return _replace(liveness, LivenessStep.REPLACE_HUNG, f"it did not answer for {limit_s:.0f} s", now_s)


def _seen(
    liveness: Liveness, state: LivenessState, detail: str, now_s: float, changed: bool = False
) -> tuple[Liveness, tuple[Effect, ...]]:
    """Records a state, and announces it if anything is new."""
    changed = changed or (state, detail) != (liveness.state, liveness.detail)
    last_ready_s = now_s if liveness.state is LivenessState.READY else liveness.last_ready_s
    seen = replace(liveness, state=state, detail=detail, last_ready_s=last_ready_s)
    return seen, (Announce(),) if changed else ()


def _locate(liveness: Liveness, effects: tuple[Effect, ...] = ()) -> Transition:
    """Locates the process, or starts it again when no attempts to locate it are left."""
    if liveness.locates_left <= 0:
        return Transition(replace(liveness, step=LivenessStep.START), Start(), effects)
    return Transition(replace(liveness, step=LivenessStep.LOCATE), Locate(), effects)


def _pause_before_locate(liveness: Liveness, policy: LivenessPolicy, effects: tuple[Effect, ...] = ()) -> Transition:
    return Transition(replace(liveness, step=LivenessStep.PAUSE_BEFORE_LOCATE), Pause(policy.locate_pause_s), effects)


def _probe(liveness: Liveness, effects: tuple[Effect, ...] = ()) -> Transition:
    assert liveness.probed is not None
    return Transition(replace(liveness, step=LivenessStep.PROBE, suspected=False), Probe(liveness.probed), effects)


def _lost(liveness: Liveness, policy: LivenessPolicy, effects: tuple[Effect, ...] = ()) -> Transition:
    """The process is no longer where it was: it is located again."""
    gone = () if liveness.probed is None else (Disconnect(liveness.probed.address),)
    return _locate(replace(liveness, locates_left=policy.locates_per_start - 1, broken=True), (*effects, *gone))


def _replace(
    liveness: Liveness, step: LivenessStep, reason: str, now_s: float, effects: tuple[Effect, ...] = ()
) -> Transition:
    liveness, announced = _seen(liveness, LivenessState.UNREACHABLE, f"its process was ended: {reason}", now_s)
    liveness = replace(liveness, step=step, loading=False)
    return Transition(liveness, Replace(reason), (*effects, *announced))
