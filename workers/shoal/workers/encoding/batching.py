"""How texts of many lengths become batches, and how a failing batch is taken apart. Pure: no model and no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """How much one batch holds."""

    tokens: int
    rows: int = 1024
    padded: bool = False
    """True: a batch costs its longest text times its rows. False: tokens lie flat, and it costs their sum."""
    least: int = 0
    """What waits is divided among idle lanes, into batches of at least so many tokens; 0 leaves it undivided. For lanes that
    compute on cores of their own."""

    def __post_init__(self) -> None:
        """Raises ValueError when `tokens` or `rows` is below 1, or `least` below 0."""
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}, the least is 1")
        if self.rows < 1:
            raise ValueError(f"rows is {self.rows}, the least is 1")
        if self.least < 0:
            raise ValueError(f"least is {self.least}, the least is 0")

    def divided(self, tokens: int, lanes: int) -> BatchBounds:
        """Bounds with which `tokens` that wait keep that many `lanes` busy."""
        share = max(self.least, -(-tokens // lanes))
        return replace(self, tokens=share) if self.least and lanes > 1 and share < self.tokens else self


def plan_batches(lengths: Sequence[int], bounds: BatchBounds) -> list[list[int]]:
    """Groups texts of alike length, longest first, so that little is padded.

    Each index into `lengths` (tokens) is in exactly one batch. A batch keeps to `bounds`, where an empty row counts as one
    token; a text that alone costs more is a batch of its own.
    Longest first, because a lack of memory then shows in the first batch.
    """
    batches: list[list[int]] = []
    longest = cost = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = max(1, lengths[index])
        # The first row of a batch is its longest.
        after = (len(batches[-1]) + 1) * longest if batches and bounds.padded else cost + length
        if not batches or len(batches[-1]) >= bounds.rows or after > bounds.tokens:
            batches.append([])
            longest, cost = length, 0
        batches[-1].append(index)
        cost += length
    return batches


def run_isolated(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], Sequence[Result]],
    fatal: type[Exception] | tuple[type[Exception], ...] = (),
) -> list[Result | Exception]:
    """Runs a batch; if it raises, halves it until each item that breaks stands alone.

    Returns for each item its result, or the exception that it raises by itself. `run` gives one result for each item.
    What is `fatal` says nothing about an item, and is raised.
    """
    if not items:
        return []
    try:
        return list(run(items))
    except fatal:
        raise
    except Exception as error:
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return run_isolated(items[:half], run, fatal) + run_isolated(items[half:], run, fatal)
