"""How texts of many lengths become batches, and how a failing batch is taken apart. Pure: no model and no clock."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def plan_batches(lengths: Sequence[int], token_budget: int, max_rows: int) -> list[list[int]]:
    """Groups texts of alike length, longest first, so that little is padded.

    Each index into `lengths` (tokens) is in exactly one batch. A batch has at most `max_rows` rows and costs, padded to
    its longest row, at most `token_budget` tokens, where an empty row counts as one; a text that alone costs more is a
    batch of its own.
    Longest first, because a lack of memory then shows in the first batch. Raises ValueError when a limit is below 1.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget is {token_budget}, the least is 1")
    if max_rows < 1:
        raise ValueError(f"max_rows is {max_rows}, the least is 1")
    batches: list[list[int]] = []
    rows_allowed = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not batches or len(batches[-1]) >= rows_allowed:
            batches.append([])
            # The first row of a batch is its longest, so it alone decides how many fit.
            rows_allowed = min(max_rows, max(1, token_budget // max(1, lengths[index])))
        batches[-1].append(index)
    return batches


def run_isolated(items: Sequence[Item], run: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result | Exception]:
    """Runs a batch; if it raises, halves it until each item that breaks stands alone.

    Returns for each item its result, or the exception that it raises by itself. `run` gives one result for each item.
    """
    if not items:
        return []
    try:
        return list(run(items))
    except Exception as error:
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return run_isolated(items[:half], run) + run_isolated(items[half:], run)
