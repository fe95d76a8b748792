"""Reports a job of `shoal encode` to the user: progress, bad rows and the summary."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import click

from shoal.console import BadRowReport, ProgressReporter, duration, note_line, print_event
from shoal.records import null_messages

if TYPE_CHECKING:
    from shoal.cluster.jobs.encode.part_writer import PartReport
    from shoal.cluster.jobs.encode.progress import JobStats
    from shoal.cluster.jobs.encode.running import JobSummary


class EncodeReport:
    """Its methods, except `finished`, are the listeners of `run_job`. A context manager, as ProgressReporter is."""

    def __init__(self, output: str, as_json: bool) -> None:
        self._output = output
        self._reporter = ProgressReporter("encoding", as_json)
        self._bad_rows = BadRowReport(self._reporter.message)
        self._nulls: Counter[str] = Counter()

    def __enter__(self) -> None:
        self._reporter.__enter__()

    def __exit__(self, *_: object) -> None:
        self._reporter.__exit__()

    def note(self, message: str) -> None:
        """Something about the input or the output that is no error."""
        self._reporter.message(note_line(message))

    def phase(self, description: str) -> None:
        """What the job does before the first part."""
        self._reporter.phase(description)

    def started(self, stats: JobStats, precision: str) -> None:
        """The first part is about to be encoded."""
        if self._reporter.as_json:
            print_event("started", {**dataclasses.asdict(stats), "precision": precision})
        elif stats.parts:
            self._reporter.message(f"resuming: {stats.rows} rows were finished before")
        self._reporter.phase("encoding", stats.share, _pace(stats))

    def advanced(self, stats: JobStats) -> None:
        """A part is finished."""
        self._reporter.advance("progress", dataclasses.asdict(stats), stats.share, _pace(stats))

    def reported(self, report: PartReport) -> None:
        """A part and all parts before it are finished."""
        for row in report.rejected:
            self._bad_rows.add(row)
        self._nulls.update(report.nulls)

    def finished(self, summary: JobSummary) -> None:
        """The whole job is finished."""
        for message in null_messages(self._nulls):
            self.note(message)
        if self._reporter.as_json:
            print_event("finished", {**dataclasses.asdict(summary), "output": self._output})
            return
        pace = f", {summary.rows_here / summary.seconds:.0f} texts/s" if summary.rows_here else ""
        click.echo(
            f"{summary.rows} rows in {self._output}, {summary.rows_here} of them encoded now; {summary.seconds:.1f} s{pace}"
        )


def _pace(stats: JobStats) -> str:
    rows = f"{stats.rows} rows"
    if stats.eta_s is None:
        return rows
    rates = f"{stats.texts_per_s:.0f} texts/s  {stats.tokens_per_s:.0f} tokens/s"
    return f"{rows}  {rates}  {duration(stats.eta_s)} left"
