"""Models that cannot be loaded: the process ends at once, and the next attempt comes after a growing pause."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.processes.liveness import LivenessStep
from shoal.cluster.decisions.processes.liveness_events import (
    Announce,
    Crashed,
    End,
    Ended,
    Event,
    LivenessState,
    LoadFailure,
    Locate,
    Located,
    Missing,
    NoRoomFound,
    Pause,
    Paused,
    Probe,
    ProbeAnswered,
    ProbeRefused,
    Start,
    Started,
)
from unit.decisions.processes.liveness_process import ANSWERS, FAILED, HERE, LOADING, POLICY, READY, THERE, Process, picks


def test_a_process_whose_model_fails_ends_at_once_and_starts_again_after_a_pause() -> None:
    process = Process().up(ProbeAnswered(LivenessState.FAILED, "no such folder"))
    assert process.liveness.state is LivenessState.FAILED and process.effects[-1] == Announce()
    assert process.liveness.detail == "no such folder; next attempt after 15 s"
    assert process.request == End()
    assert process.answer(Crashed()) == Pause(POLICY.locate_pause_s)
    assert process.answer(Paused()) == End()
    assert process.answer(Ended()) == Pause(POLICY.failed_pause_s)
    assert process.answer(Paused()) == Start()
    # The reason is kept until the model is ready.
    process.up(LOADING)
    assert process.liveness.state is LivenessState.LOADING
    assert process.liveness.failure == LoadFailure("no such folder", may_pass=False)
    process.answer(Paused())
    process.answer(READY)
    assert process.liveness.failure is None


@pytest.mark.parametrize(
    ("may_pass", "pauses"), [(True, [1, 2, 4, 8, 16, 32, 64, 120, 120]), (False, [15, 30, 60, 120, 120])]
)
def test_attempts_to_load_come_at_growing_intervals(may_pass: bool, pauses: list[float]) -> None:
    process = Process()
    for count, pause_s in enumerate(pauses, start=1):
        process.up(ProbeAnswered(LivenessState.FAILED, "no memory", may_pass))
        assert process.liveness.failure == LoadFailure("no memory", may_pass, count)
        assert process.answer(Ended()) == Pause(pause_s)
        assert process.answer(Paused()) == Start()


@pytest.mark.parametrize("gone", [Missing("down"), NoRoomFound("for 1 GPU"), Located(THERE)])
def test_a_process_that_dies_while_it_loads_is_a_failure_to_load(gone: Event) -> None:
    process = Process().up(LOADING)
    process.answer(Paused())
    assert process.answer(ProbeRefused("connection refused")) == Locate()
    assert process.answer(gone) == End()
    assert process.liveness.failure == LoadFailure("its process died while it loaded the model", may_pass=True)
    assert process.liveness.detail == "its process died while it loaded the model; next attempt after 1 s"


def test_one_death_while_loading_is_forgiven_to_a_model_that_was_served() -> None:
    process = Process().up()
    for _ in range(3):
        process.answer(Paused())
        # It dies, and the next one dies while it loads.
        assert process.answer(ProbeRefused("connection refused")) == Locate()
        assert process.answer(Located(THERE)) == Probe(THERE)
        assert process.answer(ProbeRefused("connection refused")) == Locate()
        assert process.answer(Missing("down")) == Pause(POLICY.locate_pause_s)
        assert process.liveness.failure is None
        process.answer(Paused())
        process.answer(Located(HERE))
        process.answer(READY)
    process.answer(Paused())
    process.answer(ProbeRefused("connection refused"))
    process.answer(Located(THERE))
    process.answer(ProbeRefused("connection refused"))
    assert process.answer(Located(HERE)) == Probe(HERE)
    process.answer(ProbeRefused("connection refused"))
    assert process.answer(Located(THERE)) == End()
    assert process.liveness.failure is not None and process.liveness.failure.count == 1


def test_a_process_that_is_only_slow_to_be_found_has_not_died() -> None:
    process = Process()
    process.answer(Started())
    for _ in range(5):
        process.answer(Missing("it has not started yet"))
        process.answer(Paused())
    process.answer(Located(HERE))
    # A defect of the probe; then the fleet is slow.
    assert process.answer(Crashed()) == Pause(POLICY.locate_pause_s)
    process.answer(Paused())
    assert process.answer(Missing("it has not started yet")) == Pause(POLICY.locate_pause_s)
    # The connection broke, but it is where it was.
    process.answer(Paused())
    process.answer(Located(HERE))
    process.answer(ProbeRefused("connection reset"))
    assert process.answer(Located(HERE)) == Probe(HERE)
    assert process.liveness.failure is None


@settings(max_examples=1000, deadline=None)
@given(st.booleans(), picks)
def test_a_failure_is_known_until_the_model_is_ready(must_answer: bool, history: list[tuple[int, bool]]) -> None:
    process = Process(must_answer)
    for pick, suspected in history:
        before, asked = process.liveness, process.request
        possible = ANSWERS[type(asked)]
        event = possible[pick % len(possible)]
        process.answer(event)
        after = process.liveness
        if event is READY:
            assert (after.failure, after.lost_loads) == (None, 0)
        elif event is FAILED or (process.request == End() and before.step is not LivenessStep.PAUSE_BEFORE_END):
            assert after.failure is not None and after.state is LivenessState.FAILED
            assert after.failure.count == 1 + (before.failure.count if before.failure else 0)
        else:
            assert after.failure == before.failure
        # A process is ended only for a failure to load, and an index worker loads no model.
        assert after.step is not LivenessStep.END or after.failure is not None
        assert must_answer or after.failure is None or not after.failure.may_pass
        if suspected:
            process.suspect()
