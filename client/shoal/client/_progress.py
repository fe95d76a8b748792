"""Tells a caller, or a person at a terminal, how far an upload is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from shoal.client.types import UploadProgress

Progress: TypeAlias = bool | Callable[[UploadProgress], None]


@contextmanager
def reporter(progress: Progress, documents: object) -> Iterator[Callable[[UploadProgress], None]]:
    """What to call as an upload goes on: nothing for False, a bar on stderr for True, else the caller's own function."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        with bar("documents", len(documents) if hasattr(documents, "__len__") else None) as advance:  # type: ignore[arg-type]
            yield lambda state: advance(state.acknowledged)


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
