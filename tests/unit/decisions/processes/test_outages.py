"""Why a model cannot be served now: said whenever waiting does not help, and never while a replica can answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.processes.liveness_events import LivenessState, LoadFailure
from shoal.cluster.decisions.processes.outages import OutageKind, outage

READY, LOADING, WAITING = LivenessState.READY, LivenessState.LOADING, LivenessState.WAITING
STARTING, FAILED, UNREACHABLE = LivenessState.STARTING, LivenessState.FAILED, LivenessState.UNREACHABLE


@dataclass(frozen=True)
class Standing:
    """A replica."""

    state: LivenessState
    fingerprint: str = ""
    failure: LoadFailure | None = None
    draining: bool = False
    detail: str = "for 0.5 CPU: 0 of 2 are free"


BROKEN = LoadFailure("config.json cannot be read", may_pass=False)
DIED = LoadFailure("its process died while it loaded the model", may_pass=True)

failures = st.none() | st.builds(LoadFailure, st.sampled_from(["no memory", "no file"]), st.booleans(), st.integers(1, 9))
standings = st.builds(
    Standing,
    st.sampled_from([state for state in LivenessState if state is not LivenessState.DRAINING]),
    st.sampled_from(["", "old", "new"]),
    failures,
    st.sampled_from([False, False, False, True]),
).map(lambda one: replace(one, failure=None) if one.state is READY else one)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(["", "old"]), st.lists(standings, max_size=4))
def test_any_replicas(wanted: str, replicas: list[Standing]) -> None:
    found = outage("m", wanted, replicas)
    present = [one for one in replicas if not one.draining]
    serving = [one for one in present if one.state is READY and wanted in ("", one.fingerprint)]
    ready = [one for one in present if one.state is READY]
    if serving or not present:
        assert found is None
        return
    hopeful = [one for one in present if one.failure is None and one.state not in (READY, FAILED, WAITING)]
    failed = [one.failure for one in present if one.failure is not None]
    if found is None:
        # Something may still come without anyone's help.
        assert hopeful or any(one.state in (FAILED, WAITING) for one in present)
        return
    assert found.reason.startswith("model 'm'") and "\n" not in found.reason
    assert (found.retry_after_ms > 0) == (found.kind in (OutageKind.PASSING, OutageKind.NO_ROOM))
    match found.kind:
        case OutageKind.CHANGED:
            assert wanted and ready and wanted in found.reason and ready[0].fingerprint in found.reason
        case OutageKind.BROKEN:
            assert any(not one.may_pass for one in failed) and not ready
        case OutageKind.PASSING:
            assert failed and all(one.may_pass for one in failed) and not ready
        case OutageKind.NO_ROOM:
            assert {one.state for one in present} == {WAITING} and not failed


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(["", "old"]), st.lists(standings, max_size=4))
def test_a_failed_replica_is_always_said_unless_another_one_is_ready(wanted: str, replicas: list[Standing]) -> None:
    present = [one for one in replicas if not one.draining]
    if any(one.failure for one in present) and not any(one.state is READY for one in present):
        found = outage("m", wanted, replicas)
        assert found is not None and found.kind in (OutageKind.BROKEN, OutageKind.PASSING)


@pytest.mark.parametrize(
    ("wanted", "replicas", "kind", "reason"),
    [
        ("", [Standing(FAILED, failure=BROKEN)], OutageKind.BROKEN, "model 'm': config.json cannot be read"),
        (
            "",
            [Standing(LOADING, failure=LoadFailure("no memory", True, 3)), Standing(STARTING)],
            OutageKind.PASSING,
            "model 'm': no memory (3 times)",
        ),
        (
            "",
            [Standing(FAILED, failure=DIED), Standing(FAILED, failure=BROKEN)],
            OutageKind.BROKEN,
            f"model 'm': {BROKEN.reason}",
        ),
        (
            "old",
            [Standing(READY, "new"), Standing(LOADING)],
            OutageKind.CHANGED,
            "model 'm': its files have changed: fingerprint old is wanted, new is there",
        ),
        # What it was does not count once it could not be loaded again.
        (
            "old",
            [Standing(READY, "new"), Standing(LOADING, "old", BROKEN)],
            OutageKind.CHANGED,
            "model 'm': its files have changed: fingerprint old is wanted, new is there",
        ),
        # Of several, the one that was tried most often.
        (
            "",
            [Standing(FAILED, failure=replace(DIED, count=count)) for count in (1, 3, 2)],
            OutageKind.PASSING,
            f"model 'm': {DIED.reason} (3 times)",
        ),
        ("", [Standing(LOADING, failure=replace(DIED, count=2))], OutageKind.PASSING, f"model 'm': {DIED.reason} (2 times)"),
        ("", [Standing(WAITING)], OutageKind.NO_ROOM, "model 'm' waits for 0.5 CPU: 0 of 2 are free"),
    ],
)
def test_what_is_said(wanted: str, replicas: list[Standing], kind: OutageKind, reason: str) -> None:
    found = outage("m", wanted, replicas)
    assert found is not None and (found.kind, found.reason) == (kind, reason)


@pytest.mark.parametrize(
    "replicas",
    [
        [Standing(READY, "old")],
        [Standing(READY, "new"), Standing(READY, "old")],
        # It was right, and is loaded again or out of reach for a moment.
        [Standing(READY, "new"), Standing(UNREACHABLE, "old")],
        [Standing(STARTING)],
        [Standing(WAITING), Standing(LOADING)],
        [Standing(WAITING, draining=True), Standing(READY, "old")],
        [Standing(READY, "new", draining=True)],
        [],
    ],
)
def test_what_is_worth_waiting_for(replicas: list[Standing]) -> None:
    assert outage("m", "old", replicas) is None
