"""A process that is supervised by the decisions of `liveness`, step by step."""

from __future__ import annotations

from hypothesis import strategies as st

from shoal.cluster.decisions.processes.liveness import Liveness, LivenessPolicy, Transition, advance, begin
from shoal.cluster.decisions.processes.liveness_events import (
    Crashed,
    End,
    Ended,
    Event,
    LivenessState,
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

POLICY = LivenessPolicy()
HERE, THERE = Location("a:1", 1, "a"), Location("b:2", 2, "b")
READY, LOADING, FAILED = (
    ProbeAnswered(state) for state in (LivenessState.READY, LivenessState.LOADING, LivenessState.FAILED)
)

ANSWERS: dict[type[Request], list[Event]] = {
    Start: [Started(), Started(), Missing("down"), NoRoomFound("for 1 GPU"), Crashed()],
    Locate: [Located(HERE), Located(HERE), Located(THERE), Missing("down"), NoRoomFound("for 1 GPU"), Crashed()],
    Probe: [READY, READY, LOADING, FAILED, ProbeSilent(), ProbeSilent(), ProbeRefused("refused"), Crashed()],
    Pause: [Paused()],
    Replace: [Replaced(), Crashed()],
    End: [Ended(), Crashed()],
}


class Process:
    """Runs the protocol of requests and answers, and checks what must hold at every step."""

    def __init__(self, must_answer: bool = True) -> None:
        self.now_s = 0.0
        self.replaced: list[str] = []
        self.effects: list[object] = []
        self.request: Request = Start()
        self.liveness: Liveness = begin(must_answer, 0.0).liveness
        self._take(begin(must_answer, 0.0))

    def answer(self, event: Event) -> Request:
        """The request that follows the answer to the one before."""
        if isinstance(self.request, Pause):
            self.now_s += self.request.seconds
        transition = advance(self.liveness, event, self.now_s, POLICY)
        # No state is a dead end.
        assert transition.request is not None
        self._take(transition)
        return self.request

    def suspect(self) -> Transition:
        transition = advance(self.liveness, Suspected(), self.now_s, POLICY)
        assert transition.request is None
        self._take(transition)
        return transition

    def _take(self, transition: Transition) -> None:
        self.liveness = transition.liveness
        self.effects += transition.effects
        if transition.request is not None:
            self.request = transition.request
            assert not isinstance(self.request, Pause) or self.request.seconds > 0
            if isinstance(self.request, Replace):
                self.replaced.append(self.request.reason)

    def up(self, state: ProbeAnswered = READY, where: Location = HERE) -> Process:
        """Started, located and probed once."""
        for event in (Started(), Located(where), state):
            self.answer(event)
        return self


picks = st.lists(st.tuples(st.integers(0, 1_000_000), st.booleans()), max_size=120)


def lived(must_answer: bool, history: list[tuple[int, bool]]) -> Process:
    """A process after drawn answers, with drawn suspicions between them."""
    process = Process(must_answer)
    for pick, suspected in history:
        possible = ANSWERS[type(process.request)]
        process.answer(possible[pick % len(possible)])
        if suspected:
            process.suspect()
    return process
