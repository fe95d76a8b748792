from __future__ import annotations

import pytest

from shoal.workers.encoding.engine.watchdog import BatchTimes, StallChecks, StallLimits, Watchdog


@pytest.mark.parametrize(
    ("expected_s", "now", "stalled"),
    [
        (0.5, 70.0, ""),
        (0.5, 70.1, "a batch has taken 60 s, expected 0.5 s"),
        (4.0, 90.0, ""),
        (4.0, 90.1, "a batch has taken 80 s, expected 4 s"),
    ],
)
def test_work_that_exceeds_both_limits_has_stalled(expected_s: float, now: float, stalled: str) -> None:
    watchdog = Watchdog(StallLimits(seconds=60, times=20))
    watchdog.begin(1, "a batch", 10.0, expected_s)
    watchdog.begin(2, "another", now, 0.0)
    assert watchdog.stalled(now) == stalled


def test_finished_work_is_forgotten() -> None:
    watchdog = Watchdog(StallLimits(seconds=1))
    watchdog.begin(1, "a batch", 0.0, 0.0)
    watchdog.end(1)
    watchdog.end(1)
    assert watchdog.stalled(1e9) == ""


@pytest.mark.parametrize(("waited_s", "due"), [(0.0, True), (6.1, True), (12.0, True), (12.1, False), (600.0, False)])
def test_no_check_is_due_after_the_process_was_suspended(waited_s: float, due: bool) -> None:
    checks = StallChecks(StallLimits(seconds=60), 100.0)
    assert checks.interval_s == 6.0
    assert checks.due(106.0)
    assert checks.due(106.0 + waited_s) is due
    assert checks.due(112.0 + waited_s), "the next one is"


def test_a_batch_is_expected_to_take_as_long_per_token_as_those_before_it() -> None:
    times = BatchTimes(0.5)
    assert times.expected_s(10) == 5.0
    times.add(10, 1.0)
    times.add(30, 7.0)
    assert (times.tokens, times.busy_s) == (40, 8.0)
    assert times.expected_s(10) == 2.0
