"""Reports how far a long command is: on a terminal, in lines or as JSON events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import click

from shoal.console.output import print_event

REPORT_EVERY_S = 5.0


class ProgressReporter:
    """Reports how far a command is: a bar on a terminal, lines on stderr elsewhere, or JSON events on stdout.

    A context manager: the bar is drawn while the block runs.
    """

    def __init__(self, description: str, as_json: bool, clock: Callable[[], float] = time.monotonic) -> None:
        # Imported late: most commands have no bar.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.as_json = as_json
        self._clock = clock
        self._reported_at_s = float("-inf")
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"))
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal or as_json)
        self._task = self._bar.add_task(description, total=1.0, pace="")

    def __enter__(self) -> ProgressReporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, description: str, share: float = 0.0, pace: str = "") -> None:
        """Labels the bar with what the command does now. The next `advance` is reported however soon it comes."""
        self._reported_at_s = float("-inf")
        self._bar.update(self._task, description=description, completed=share, pace=pace)

    def advance(self, event: str, values: Mapping[str, object], share: float, pace: str, last: bool = False) -> None:
        """Moves the bar to `share` (0 to 1). Elsewhere reports this at most every REPORT_EVERY_S, and always the `last`."""
        now_s = self._clock()
        due = last or now_s - self._reported_at_s >= REPORT_EVERY_S
        self._bar.update(self._task, completed=share, pace=pace, refresh=due)
        if not due:
            return
        self._reported_at_s = now_s
        if self.as_json:
            print_event(event, values)
        elif self._bar.disable:
            click.echo(f"{share:4.0%}  {pace}", err=True)

    def message(self, line: str) -> None:
        """Prints a line on stderr, above the bar."""
        if self._bar.disable:
            click.echo(line, err=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False)


def duration(seconds: float) -> str:
    """Seconds as "h:mm:ss"."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
