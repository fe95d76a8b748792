from __future__ import annotations

import pytest

from shoal.workers.encoding.engine.watchdog import StallLimits, Watchdog, was_suspended


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


def test_a_delayed_watcher_notices_its_delay() -> None:
    assert [was_suspended(waited_s, 6.0) for waited_s in (0.0, 6.1, 12.0, 12.1, 600.0)] == [False, False, False, True, True]
