"""Reports the progress of an upload or an embedding to a function, or as a bar on a terminal."""

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
    """Gives the function to call with each new state. It does nothing if `progress` is False, draws a bar on stderr if it is
    True, and is `progress` itself otherwise.

    The bar is labelled `what`, ends at the length of `items` if they have one, and shows `done` of a state.
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
    """Draws a bar on stderr if that is a terminal; gives the function to call with the count done so far."""
    # Imported late: a user of the library who draws no bar should not pay for rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as drawn:
        task = drawn.add_task(description, total=total)
        yield lambda done: drawn.update(task, completed=done)
