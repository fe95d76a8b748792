"""Splits texts of different lengths into batches, and a failing batch into halves. Pure: no model and no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """The size limits of one batch."""

    tokens: int
    rows: int = 1024
    padded: bool = False
    """True: a batch costs its rows times its longest text. False: it costs the sum of its tokens."""
    min_tokens: int = 0
    """Waiting texts are divided among idle inference threads, in batches of at least this many tokens; 0 never divides
    them. For inference threads with a core each."""

    def __post_init__(self) -> None:
        """Raises ValueError when `tokens` or `rows` is below 1, or `min_tokens` below 0."""
        if self.tokens < 1:
            raise ValueError(f"tokens must be at least 1, not {self.tokens}")
        if self.rows < 1:
            raise ValueError(f"rows must be at least 1, not {self.rows}")
        if self.min_tokens < 0:
            raise ValueError(f"min_tokens must be at least 0, not {self.min_tokens}")

    def divided(self, tokens: int, threads: int) -> BatchBounds:
        """Bounds that divide `tokens` waiting tokens evenly among `threads` inference threads."""
        share = max(self.min_tokens, -(-tokens // threads))
        return replace(self, tokens=share) if self.min_tokens and threads > 1 and share < self.tokens else self


def plan_batches(lengths: Sequence[int], bounds: BatchBounds) -> list[list[int]]:
    """Groups texts of similar length, longest first, so that there is little padding.

    Each index into `lengths` (tokens) is in exactly one batch. A batch keeps to `bounds`, where an empty row counts as one
    token; a text that alone exceeds them is a batch of its own.
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
    """Runs a batch; if it raises, halves it until each failing item is alone.

    Returns for each item its result, or the exception that it raises alone. `run` returns one result per item. Raises
    exceptions of type `fatal`, which no single item causes.
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
