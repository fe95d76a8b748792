from random import Random

import pytest

from shoal.client import DeadlineExceeded, Overloaded, RetryPolicy, Unavailable
from shoal.client._transport.retry import Attempts


def pauses(policy: RetryPolicy, attempt: int) -> list[float]:
    drawn = [policy.pause_s(attempt, 0.0, 1e9, Random(seed)) for seed in range(500)]
    return [pause for pause in drawn if pause is not None]


@pytest.mark.parametrize(("attempt", "bound"), [(1, 0.05), (2, 0.1), (3, 0.2), (6, 1.6), (7, 2.0), (10_000, 2.0)])
def test_pauses_are_spread_over_a_doubling_range(attempt: int, bound: float):
    drawn = pauses(RetryPolicy(), attempt)
    assert len(drawn) == 500
    assert 0 <= min(drawn) < 0.1 * bound
    assert 0.9 * bound < max(drawn) <= bound


def test_no_pause_reaches_the_deadline():
    for seed in range(200):
        pause = RetryPolicy().pause_s(7, 0.0, 0.5, Random(seed))
        assert pause is None or pause < 0.5
    assert RetryPolicy().pause_s(1, 0.0, 0.0, Random(0)) is None
    assert RetryPolicy().pause_s(1, 5.0, -1.0, Random(0)) is None


def test_the_server_may_ask_for_a_longer_pause():
    assert RetryPolicy().pause_s(1, 0.0, 10.0, Random(0), at_least_s=3.0) == 3.0
    assert RetryPolicy().pause_s(1, 0.0, 2.0, Random(0), at_least_s=3.0) is None


def test_patience_ends_before_the_deadline():
    policy = RetryPolicy(patience_s=1.0)
    assert policy.pause_s(1, 0.5, 100.0, Random(0)) is not None
    assert policy.pause_s(1, 1.0, 100.0, Random(0)) is None
    assert RetryPolicy(patience_s=0.0).pause_s(1, 0.0, 100.0, Random(0)) is None


def attempts(**policy: float) -> Attempts:
    return Attempts(RetryPolicy(**policy), Random(0), 10.0, 100.0)


def test_attempts_count_and_share_their_time():
    tries = attempts(first_pause_s=1e-9, longest_pause_s=1e-9, patience_s=8.0)
    assert tries.remaining_s(103.0) == 7.0
    assert tries.pause_s(Unavailable("away"), 103.0) is not None
    assert tries.pause_s(Overloaded("full", retry_after_s=2.0), 103.0) == 2.0
    assert tries.pause_s(Overloaded("full", retry_after_s=7.0), 103.0) is None
    assert tries.pause_s(Unavailable("away"), 108.0) is None
    assert tries.remaining_s(111.0) == -1.0


def test_each_attempt_has_a_number():
    class Numbers(RetryPolicy):
        def pause_s(self, attempt: int, elapsed_s: float, remaining_s: float, rng: Random, at_least_s: float = 0.0) -> float:
            return float(attempt)

    tries = Attempts(Numbers(), Random(0), 10.0, 100.0)
    assert [tries.pause_s(Unavailable("away"), 100.0) for _ in range(3)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("failed_at_s", "retry_after_s", "reason"), [(104.0, 0.9, "late"), (104.0, 1.0, "away"), (109.9, 0.0, "away")]
)
def test_a_timeout_names_the_reason_that_took_most_of_the_time(failed_at_s: float, retry_after_s: float, reason: str):
    late = DeadlineExceeded("late")
    tries = attempts(first_pause_s=0.0)
    assert tries.ended_by(late) is late
    tries.pause_s(Unavailable("lost"), 100.0)
    assert tries.ended_by(late) is late
    tries.pause_s(Unavailable("away", retry_after_s=retry_after_s), failed_at_s)
    assert str(tries.ended_by(late)) == reason
