"""Whether a process is up: whatever happens to it, it is replaced when it hangs or is lost, and only then."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.processes.liveness import Liveness, LivenessStep, Transition, advance, begin, shown_state
from shoal.cluster.decisions.processes.liveness_events import (
    Announce,
    Crashed,
    Disconnect,
    End,
    Ended,
    EndPause,
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
from support.scenarios import Command
from unit.decisions.processes.liveness_process import ANSWERS, HERE, LOADING, POLICY, READY, THERE, Process, lived, picks


@settings(max_examples=1000, deadline=None)
@given(st.booleans(), picks)
def test_a_healthy_process_becomes_ready_from_every_state(must_answer: bool, history: list[tuple[int, bool]]) -> None:
    process = lived(must_answer, history)
    well: dict[type[Request], Event] = {
        Start: Started(),
        Locate: Located(HERE),
        Pause: Paused(),
        Replace: Replaced(),
        End: Ended(),
    }
    # At most: replaced, ended, started, located and probed, with the pauses between.
    for _ in range(12):
        asked = process.request
        if isinstance(asked, Probe):
            process.answer(READY if asked.location == HERE else ProbeRefused("no process is there"))
            if asked.location == HERE:
                break
        else:
            process.answer(well[type(asked)])
    assert process.liveness.state is LivenessState.READY and process.liveness.confirmed == HERE


@settings(max_examples=1000, deadline=None)
@given(st.booleans(), picks)
def test_only_silence_and_loss_replace_a_process(must_answer: bool, history: list[tuple[int, bool]]) -> None:
    process = Process(must_answer)
    silent, missing_since_s, was_ready = 0, None, False
    for pick, suspected in history:
        asked, step = process.request, process.liveness.step
        possible = ANSWERS[type(asked)]
        event = possible[pick % len(possible)]
        if isinstance(asked, Probe):
            silent = silent + 1 if isinstance(event, ProbeSilent) else 0
            was_ready = process.liveness.was_ready
        elif isinstance(event, Located) and event.location != process.liveness.probed:
            silent = 0
        before_s = process.now_s + (asked.seconds if isinstance(asked, Pause) else 0.0)
        if isinstance(event, Missing) and step in (LivenessStep.START, LivenessStep.LOCATE):
            missing_since_s = before_s if missing_since_s is None else missing_since_s
        elif isinstance(event, Located | NoRoomFound) and step in (LivenessStep.START, LivenessStep.LOCATE):
            missing_since_s = None
        count = len(process.replaced)
        process.answer(event)
        if len(process.replaced) > count:
            if process.liveness.step is LivenessStep.REPLACE_LOST:
                assert missing_since_s is not None and process.now_s - missing_since_s > POLICY.lost_start_s
                missing_since_s = None
            else:
                # A process that answers is never replaced, nor is a silent index worker.
                assert must_answer and silent == POLICY.silence_limit(was_ready)[0]
                silent = 0
        assert process.liveness.silent_probes <= POLICY.silence_limit(False)[0]
        if process.liveness.step is LivenessStep.LOCATE:
            silent = 0
        if suspected:
            process.suspect()


@pytest.mark.parametrize(("answer", "limit"), [(READY, 6), (LOADING, 24)])
def test_a_silent_encoder_is_replaced_after_the_limit_of_probes(answer: ProbeAnswered, limit: int) -> None:
    process = Process().up(answer)
    process.answer(Paused())
    for count in range(1, limit + 1):
        assert process.answer(ProbeSilent()) == Locate() and process.replaced == []
        assert process.liveness.state is LivenessState.UNREACHABLE
        # Found where it was, or not found: it has not moved.
        following = process.answer(Located(HERE) if count % 2 else Missing("busy"))
        assert isinstance(following, Replace) == (count == limit)
    assert process.replaced == [f"it did not answer for {5 * limit} s"]
    # Another process takes its place at once, on a new channel.
    assert process.answer(Replaced()) == Locate() and process.effects[-1] == Disconnect(HERE.address)
    process.answer(Located(THERE))
    process.answer(READY)
    assert (process.liveness.restarts, process.liveness.confirmed) == (1, THERE)


def test_an_answer_between_silent_probes_resets_the_count() -> None:
    process = Process().up()
    process.answer(Paused())
    for _ in range(20):
        for _ in range(5):
            process.answer(ProbeSilent())
            process.answer(Located(HERE))
        process.answer(READY)
        process.answer(Paused())
    assert process.replaced == [] and process.liveness.restarts == 0


def test_a_process_that_has_moved_is_not_replaced() -> None:
    process = Process().up()
    process.answer(Paused())
    for _ in range(5):
        process.answer(ProbeSilent())
        process.answer(Located(HERE))
    process.answer(ProbeSilent())
    assert process.answer(Located(THERE)) == Locate() and process.replaced == []
    assert process.answer(Located(THERE)) == Probe(THERE)


def test_a_silent_index_worker_is_located_again_and_never_replaced() -> None:
    process = Process(must_answer=False).up()
    process.answer(Paused())
    for _ in range(100):
        assert process.answer(ProbeSilent()) == Locate()
        assert process.answer(Located(HERE)) == Probe(HERE)
    assert process.replaced == []


def test_a_lost_start_is_repeated_after_its_timeout() -> None:
    process = Process()
    process.answer(Started())
    while not process.replaced:
        # Exactly at the bound it still has time.
        assert process.now_s <= POLICY.lost_start_s + POLICY.locate_pause_s + 1e-6
        process.answer({Start: Started(), Locate: Missing("down")}.get(type(process.request), Paused()))
    assert process.now_s > POLICY.lost_start_s
    assert process.replaced == ["it could not be reached for 300 s"]
    assert process.answer(Replaced()) == Pause(POLICY.locate_pause_s)


def test_a_process_that_waits_for_resources_is_never_replaced() -> None:
    process = Process()
    process.answer(Started())
    for _ in range(10_000):
        process.answer({Start: Started(), Locate: NoRoomFound("for 1 GPU")}.get(type(process.request), Paused()))
    assert process.now_s > 2 * POLICY.lost_start_s and process.replaced == []
    assert process.liveness.state is LivenessState.WAITING and process.effects == [Announce()]


@pytest.mark.parametrize("answer", [NoRoomFound("full"), Missing("down"), Crashed()])
def test_a_process_that_is_not_found_is_restarted_from_time_to_time(answer: Event) -> None:
    process, locates, counts = Process(), 0, []
    for _ in range(1000):
        if isinstance(process.request, Start):
            counts.append(locates)
            locates = 0
        elif isinstance(process.request, Locate):
            locates += 1
        process.answer({Start: Started(), Locate: answer}.get(type(process.request), Paused()))
    assert counts[:3] == [0, POLICY.locates_per_start, POLICY.locates_per_start]


def test_a_suspicion_takes_it_out_of_service_until_a_probe_answers() -> None:
    process = Process().up()
    assert process.suspect().effects == (EndPause(),)
    assert process.liveness.state is LivenessState.UNREACHABLE
    assert process.answer(Paused()) == Probe(HERE)
    # Suspected while a probe is in flight, whose answer may be older: it is probed once more at once.
    process.suspect()
    assert process.answer(READY) == Probe(HERE)
    assert process.answer(READY) == Pause(POLICY.probe_s)


def test_an_answer_to_another_request_is_refused() -> None:
    with pytest.raises(ValueError, match="Paused does not answer the step 'start'"):
        advance(begin(True, 0.0).liveness, Paused(), 0.0, POLICY)


def test_draining_is_shown_while_a_process_is_ready() -> None:
    for state in LivenessState:
        assert shown_state(state, draining=False) is state
        assert shown_state(state, draining=True) is (LivenessState.DRAINING if state is LivenessState.READY else state)


def test_the_last_ready_time_is_known_however_a_process_was_lost() -> None:
    chance = random.Random(1)
    process = Process()
    assert process.liveness.last_ready_s == 0.0
    process.up()
    for _ in range(100):
        process.answer(Paused() if isinstance(process.request, Pause) else READY)
        process.now_s += chance.random()
    seen_s = process.liveness.last_ready_s
    assert process.now_s - seen_s < 3
    if isinstance(process.request, Pause):
        process.answer(Paused())
    process.answer(ProbeRefused("gone"))
    at_loss_s = process.liveness.last_ready_s
    for _ in range(100):
        process.answer({Start: Started(), Locate: Missing("gone")}.get(type(process.request), Paused()))
    assert process.liveness.last_ready_s == at_loss_s >= seen_s


def shown(transition: Transition) -> str:
    """What follows from an event, a line for each thing."""
    lines = []
    for effect in transition.effects:
        match effect:
            case Announce():
                lines.append(f"announce {transition.liveness.state} {transition.liveness.detail}".rstrip())
            case Disconnect(address):
                lines.append(f"disconnect {address}")
            case EndPause():
                lines.append("end pause")
    match transition.request:
        case Probe(location):
            lines.append(f"probe {location.address}")
        case Pause(seconds):
            lines.append(f"pause {seconds:g} s")
        case Replace(reason):
            lines.append(f"replace: {reason}")
        case Start() | Locate() | End():
            lines.append(type(transition.request).__name__.lower())
        case None:
            lines.append(f"(still: {transition.liveness.step.value})")
    return "\n".join(lines)


def event_of(command: Command) -> Event:
    """The event that a command of a scenario stands for; its line of input is the reason or progress."""
    text = " ".join(command.lines)
    match command.name:
        case "located":
            return Located(Location(command.text("at"), command.integer("pid", 1), "node"))
        case "answered":
            return ProbeAnswered(LivenessState(command.words[0]), text)
        case "missing":
            return Missing(text)
        case "no-room":
            return NoRoomFound(text)
        case "refused":
            return ProbeRefused(text)
        case name:
            plain: list[Event] = [Started(), ProbeSilent(), Suspected(), Paused(), Replaced(), Ended(), Crashed()]
            names = ["started", "silent", "suspected", "paused", "replaced", "ended", "crashed"]
            return plain[names.index(name)]


def test_scenarios(run_scenario: Callable[[Path, Callable[[Command], str]], None]) -> None:
    states: list[Liveness] = []

    def answer(command: Command) -> str:
        now_s = command.number("time", 0.0)
        if command.name in ("encoder", "index-worker"):
            transition = begin(command.name == "encoder", now_s)
        else:
            transition = advance(states[0], event_of(command), now_s, POLICY)
        states[:] = [transition.liveness]
        return shown(transition)

    run_scenario(Path(__file__).parent / "scenarios" / "liveness.txt", answer)
