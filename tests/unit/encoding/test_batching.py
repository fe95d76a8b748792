from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.batching import plan_batches, run_isolated

LENGTHS = st.lists(st.integers(0, 600), max_size=200)


@given(LENGTHS, st.integers(1, 2048), st.integers(1, 64))
def test_each_index_is_in_one_batch_and_no_batch_passes_its_limits(lengths: list[int], budget: int, max_rows: int) -> None:
    batches = plan_batches(lengths, budget, max_rows)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert len(batch) <= max_rows
        assert padded <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 2048), st.integers(1, 64))
def test_batches_go_from_long_to_short_and_are_full(lengths: list[int], budget: int, max_rows: int) -> None:
    batches = plan_batches(lengths, budget, max_rows)
    order = [lengths[index] for batch in batches for index in batch]
    assert order == sorted(lengths, reverse=True)
    for batch in batches[:-1]:
        longest = max(1, lengths[batch[0]])
        assert len(batch) == max_rows or longest * (len(batch) + 1) > budget


@pytest.mark.parametrize(("budget", "rows", "field"), [(0, 1, "token_budget is 0"), (1, 0, "max_rows is 0")])
def test_limits_below_one_are_refused(budget: int, rows: int, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        plan_batches([1], budget, rows)


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
