"""Tells a caller, or a person at a terminal, how far an upload or an embedding is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from shoal.client.embeddings import EmbedProgress
from shoal.client.types import UploadProgress

State = TypeVar("State")
Progress: TypeAlias = bool | Callable[[UploadProgress], None]
EmbedReport: TypeAlias = bool | Callable[[EmbedProgress], None]


@contextmanager
def reporter(
    progress: bool | Callable[[State], None], items: object, what: str, done: Callable[[State], int]
) -> Iterator[Callable[[State], None]]:
    """What to call as work goes on: nothing for False, a bar on stderr for True, else the caller's own function.

    The bar is about `items`, which are called `what`, and shows `done` of a state.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        sized: Any = items
        with bar(what, len(sized) if hasattr(sized, "__len__") else None) as advance:
            yield lambda state: advance(done(state))


@contextmanager
def bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; it is called with the count done so far. Nothing is drawn where stderr is not a terminal."""
    # Late: a library user who draws no bar should not pay for importing rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as drawn:
        task = drawn.add_task(description, total=total)
        yield lambda done: drawn.update(task, completed=done)
