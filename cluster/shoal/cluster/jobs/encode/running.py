"""One run of a job, from finding its input files to the summary. `command` reports it to the user."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import JobSettings, plan_job
from shoal.cluster.jobs.encode.output import OutputFolder
from shoal.cluster.jobs.encode.part_writer import PartReport
from shoal.cluster.jobs.encode.parts import Finished, PartsInOrder, plan_splits
from shoal.cluster.jobs.encode.pipeline import JobRun, Replicas, describe_model, with_defaults, write_parts
from shoal.cluster.jobs.encode.progress import JobStats, Progress
from shoal.cluster.jobs.encode.reading import check_first_row
from shoal.cluster.ray_runtime.session import RayUnavailable, joined_ray
from shoal.console import absolute_model_name
from shoal.records import InputError, RejectedRow, RepeatedIdNotes, find_inputs
from shoal.workers.encoding import ModelError, parse_spec, split_precision

_OF_THIS_RUN = ("rows_here", "seconds")


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a finished job did."""

    parts: int
    rows: int
    bad_rows: int
    reasons: Mapping[str, int]
    """Bad rows by their reason, without its particulars."""
    tokens: int
    truncated: int
    repeated_ids: int
    """Rows with the id of an earlier row."""
    rows_here: int
    """Rows that this run encoded; earlier runs encoded the others."""
    seconds: float
    """Duration of this run, without starting Ray and loading the model."""


@dataclass(frozen=True, slots=True)
class JobListeners:
    """Called as the job proceeds."""

    note: Callable[[str], None]
    """Something about the input that is no error."""
    phase: Callable[[str], None]
    """What the job does before the first part."""
    started: Callable[[JobStats, str], None]
    """The job before this run's first part, and the precision that the model computes in."""
    advanced: Callable[[JobStats], None]
    """A part is finished."""
    reported: Callable[[PartReport], None]
    """A part and all parts before it are finished; called in the order of the input."""


def checked_model_name(model: str) -> str:
    """The model by a name that means the same in any folder; raises JobError when it can name no model."""
    try:
        name, _ = split_precision(model)
        parse_spec(name)
    except ModelError as error:
        raise JobError(str(error)) from error
    return absolute_model_name(model)


def run_job(
    inputs: Sequence[str],
    output: str,
    settings: JobSettings,
    replicas: Replicas,
    overwrite: bool,
    listeners: JobListeners,
    hidden: bool = False,
) -> JobSummary:
    """Runs what is left of a job. Raises JobError; committed parts stay, and the next run continues from there."""
    # Tasks and actors have other working directories.
    settings = dataclasses.replace(settings, model=checked_model_name(settings.model))
    output = output if "://" in output else os.path.abspath(output)
    listeners.phase("finding the input files")
    try:
        found = find_inputs(inputs, hidden)
    except InputError as error:
        raise JobError(str(error)) from error
    if found.note:
        listeners.note(found.note)
    for some in found:
        # Finds a mistyped field before anything starts. Only the first file of each input is checked.
        check_first_row(some[0], settings.fields)
    files = [file for some in found for file in some]
    folder = OutputFolder(output)
    try:
        listeners.phase("starting Ray")
        with joined_ray(replicas.count * replicas.threads):
            listeners.phase(f"loading {settings.model}")
            actors = with_defaults(replicas)
            model = describe_model(settings.model, actors)
            job = folder.begin(plan_job(secrets.token_hex(8), settings, model, files), overwrite)
            manifests = folder.finished()
            finished = Finished.of((one.id, one.last) for one in manifests)
            started_at_s = time.monotonic()
            progress = Progress(sum(file.bytes for file in files), started_at_s)
            for manifest in manifests:
                progress.found(manifest)
            before = progress.stats()
            listeners.started(before, model.precision)
            splits = finished.left(plan_splits(files))
            if splits:
                run = JobRun(job, settings, output, splits, finished.parts)
                in_order = PartsInOrder[PartReport](splits, finished)
                for report in write_parts(run, actors):
                    progress.finished(report.manifest, time.monotonic())
                    listeners.advanced(progress.stats())
                    for ready in in_order.add(report.manifest.id, report.manifest.last, report):
                        listeners.reported(ready)
            done = progress.stats()
            summary = JobSummary(
                parts=done.parts,
                rows=done.rows,
                bad_rows=done.bad_rows,
                reasons=_reasons(folder) if done.bad_rows else {},
                tokens=done.tokens,
                truncated=done.truncated,
                repeated_ids=_note_repeated_ids(folder, listeners),
                rows_here=done.rows - before.rows,
                seconds=time.monotonic() - started_at_s,
            )
            totals = {name: value for name, value in dataclasses.asdict(summary).items() if name not in _OF_THIS_RUN}
            folder.conclude(json.dumps(totals).encode())
            return summary
    except RayUnavailable as error:
        raise JobError(str(error)) from error
    finally:
        folder.close()


def _note_repeated_ids(folder: OutputFolder, listeners: JobListeners) -> int:
    """Notes ids that several rows of the output have; returns how many rows have the id of an earlier one."""
    starts: list[int] = []
    names: list[str] = []

    def location(position: int) -> str:
        part = bisect_right(starts, position) - 1
        return f"{folder.root}/{names[part]}:{position - starts[part] + 1}"

    repeated = RepeatedIdNotes(location, "is also that of", "; an import keeps the last one")
    position = 0
    for name, ids in folder.ids():
        starts.append(position)
        names.append(name)
        for id in ids:
            repeated.add(id, position)
            position += 1
    for line in repeated.lines():
        listeners.note(line)
    return repeated.count


def _reasons(folder: OutputFolder) -> dict[str, int]:
    return dict(Counter(RejectedRow(**json.loads(row)).kind for row in folder.bad_rows()))
