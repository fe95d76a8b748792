import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.batching import BatchBounds, plan_batches, run_isolated

LENGTHS = st.lists(st.integers(0, 600), max_size=200)
BOUNDS = st.builds(BatchBounds, tokens=st.integers(1, 2048), rows=st.integers(1, 64), padded=st.booleans())


def cost(lengths: Sequence[int], bounds: BatchBounds) -> int:
    counted = [max(1, length) for length in lengths]
    return max(counted) * len(counted) if bounds.padded else sum(counted)


@given(LENGTHS, BOUNDS)
def test_each_index_is_in_one_batch_and_no_batch_passes_its_limits(lengths: list[int], bounds: BatchBounds) -> None:
    batches = plan_batches(lengths, bounds)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= bounds.rows
        assert cost([lengths[index] for index in batch], bounds) <= bounds.tokens or len(batch) == 1


@given(LENGTHS, BOUNDS)
def test_batches_go_from_long_to_short_and_are_full(lengths: list[int], bounds: BatchBounds) -> None:
    batches = plan_batches(lengths, bounds)
    order = [lengths[index] for batch in batches for index in batch]
    assert order == sorted(lengths, reverse=True)
    for batch, following in itertools.pairwise(batches):
        one_more = [lengths[index] for index in [*batch, following[0]]]
        assert len(batch) == bounds.rows or cost(one_more, bounds) > bounds.tokens


@pytest.mark.parametrize(
    ("tokens", "rows", "min_tokens", "reason"),
    [
        (0, 1, 0, "^tokens must be at least 1, not 0"),
        (1, 0, 0, "^rows must be at least 1, not 0"),
        (1, 1, -1, "^min_tokens must be at least 0, not -1"),
    ],
)
def test_limits_that_are_too_low_are_refused(tokens: int, rows: int, min_tokens: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BatchBounds(tokens, rows, min_tokens=min_tokens)


@given(st.lists(st.booleans(), max_size=80))
def test_each_poison_item_stands_alone(poisoned: list[bool]) -> None:
    def run(items: Sequence[tuple[int, bool]]) -> list[int]:
        if any(bad for _, bad in items):
            raise RuntimeError("poison")
        return [number for number, _ in items]

    results = run_isolated(list(enumerate(poisoned)), run)
    assert len(results) == len(poisoned)
    for number, (bad, result) in enumerate(zip(poisoned, results, strict=True)):
        assert isinstance(result, RuntimeError) if bad else result == number


def test_one_poison_item_costs_few_further_runs() -> None:
    runs = 0

    def run(items: Sequence[int]) -> list[int]:
        nonlocal runs
        runs += 1
        if 77 in items:
            raise RuntimeError("poison")
        return list(items)

    results = run_isolated(range(1024), run)
    assert [number for number, result in enumerate(results) if isinstance(result, Exception)] == [77]
    assert runs == 1 + 2 * 10
