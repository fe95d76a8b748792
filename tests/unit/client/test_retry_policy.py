from random import Random

import pytest

from shoal.client import RetryPolicy


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
