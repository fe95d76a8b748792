"""The job as a Ray Data pipeline: splits → tasks that read → actors that encode and commit → reports. The only module of
`encode` that uses Ray; tasks run `reading`, actors run `part_writer`.

A row of the dataset is a whole part, so no block holds half of one: a part that Ray runs twice writes the same files twice.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.exceptions import RayError

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import Job, JobSettings, ModelIdentity
from shoal.cluster.jobs.encode.output import OutputFolder
from shoal.cluster.jobs.encode.part_writer import PartReport, PartWriter
from shoal.cluster.jobs.encode.parts import Split
from shoal.cluster.jobs.encode.reading import PartRecords, read_split
from shoal.cluster.ray_runtime.error_lines import ray_error_line
from shoal.workers.encoding import DeviceLost, ModelError, end_process, load_model
from shoal.workers.runtime import limit_tokenizer_threads

CALLS_PER_ACTOR = 2
"""One part is computed while the next one is tokenized and the last one is written."""
READERS_PER_REPLICA = 2


@dataclass(frozen=True, slots=True)
class Replicas:
    """The actors that encode. A number that is 0 is chosen by `with_defaults`."""

    count: int = 0
    threads: int = 0
    """CPU threads of each actor, and the CPUs that Ray reserves for it."""
    gpus: float = 0.0
    """GPU share of each actor."""

    @property
    def device(self) -> str | None:
        """The device for `load_model`. Ray does not hide GPUs from actors that requested none."""
        return None if self.gpus else "cpu"


@dataclass(frozen=True, slots=True)
class JobRun:
    """What one run of a job has to do."""

    job: Job
    settings: JobSettings
    output: str
    splits: Sequence[Split]
    """The splits that have unfinished parts."""
    skipped: Mapping[int, frozenset[int]]
    """The finished parts, by split."""


def with_defaults(wanted: Replicas) -> Replicas:
    """`wanted` with zeros replaced by what fits the Ray cluster. Raises JobError when the cluster is too small."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    cores = max((int(node["CPU"]) for node in nodes), default=0)
    if wanted.gpus > 0 and gpus < wanted.gpus:
        raise JobError(f"--gpus {wanted.gpus:g}: the Ray cluster has {gpus:g}")
    if max(1, wanted.threads) > cores:
        raise JobError(f"--threads {max(1, wanted.threads)}: the largest node of the Ray cluster has {cores} CPUs")
    count = wanted.count or max(1, int(gpus / wanted.gpus) if wanted.gpus > 0 else len(nodes))
    free = int(ray.available_resources().get("CPU", 0))
    # Fits into the CPUs that are free now: the job does not wait for other work on the cluster.
    threads = wanted.threads or max(1, min(cores, free // count))
    total = sum(int(node["CPU"]) // threads for node in nodes)
    if count > total:
        raise JobError(f"--replicas {count}: with {threads} threads each, the Ray cluster has room for {total}")
    return Replicas(count, threads, wanted.gpus)


def describe_model(model: str, replicas: Replicas) -> ModelIdentity:
    """The model as loaded in a Ray task. Raises JobError when it cannot be loaded."""
    task = ray.remote(_describe).options(num_cpus=replicas.threads, num_gpus=replicas.gpus)
    try:
        answer = ray.get(task.remote(model, replicas.threads, replicas.device))
    except RayError as error:
        raise JobError(f"the pipeline failed: {ray_error_line(error)}") from error
    if isinstance(answer, str):
        raise JobError(answer)
    return answer


def write_parts(run: JobRun, replicas: Replicas) -> Iterator[PartReport]:
    """Runs the pipeline and yields a report for each part, which is committed by then. Raises JobError."""
    _silence_ray_data()
    rows = [{"split": pickle.dumps((split, run.skipped.get(split.index, frozenset())))} for split in run.splits]
    # One block per split, so that each split is read by its own task.
    splits = ray.data.from_items(rows, override_num_blocks=len(rows))
    parts = splits.map_batches(
        cast(Any, _read_split),
        batch_size=1,
        # No reservation: the encoders have reserved all CPUs, and the readers would never start.
        num_cpus=0,
        compute=TaskPoolStrategy(size=READERS_PER_REPLICA * replicas.count),
        fn_kwargs={"settings": run.settings},
    )
    reports = parts.map_batches(
        _Encoder,
        batch_size=1,
        num_cpus=replicas.threads,
        num_gpus=replicas.gpus or None,
        compute=ActorPoolStrategy(
            size=replicas.count,
            max_tasks_in_flight_per_actor=2 * CALLS_PER_ACTOR,
            max_concurrent_calls_per_actor=CALLS_PER_ACTOR,
            enable_true_multi_threading=True,
        ),
        fn_constructor_kwargs={
            "job": run.job,
            "settings": run.settings,
            "output": run.output,
            "threads": replicas.threads,
            "device": replicas.device,
        },
    )
    try:
        for row in reports.iter_rows():
            report = pickle.loads(row["report"])
            if isinstance(report, JobFailure):
                raise JobError(report.reason)
            yield report
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"the pipeline failed: {ray_error_line(error)}") from error


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why the job cannot continue, sent to the driver as a value: of an exception Ray Data keeps only the traceback."""

    reason: str


class _Encoder:
    """One actor of the pool. Ray Data calls it with parts, from several threads."""

    def __init__(self, job: Job, settings: JobSettings, output: str, threads: int, device: str | None) -> None:
        limit_tokenizer_threads(threads)
        try:
            model = load_model(settings.model, threads, device=device)
            self._writer = PartWriter(model, job, settings, OutputFolder(output), end_process)
        except (JobError, ModelError) as error:
            self._writer = JobFailure(str(error))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"report": [pickle.dumps(self._report(pickle.loads(part))) for part in batch["part"]]}

    def _report(self, part: PartRecords | JobFailure) -> PartReport | JobFailure:
        if isinstance(self._writer, JobFailure):
            return self._writer
        if isinstance(part, JobFailure):
            return part
        try:
            return self._writer.encode(part)
        except DeviceLost as error:
            # Ray runs the part again in the process that replaces this one.
            end_process(str(error))
        except (JobError, ModelError) as error:
            return JobFailure(str(error))


def _read_split(batch: dict[str, Any], settings: JobSettings) -> Iterator[dict[str, list[bytes]]]:
    for packed in batch["split"]:
        split, finished = pickle.loads(packed)
        try:
            for part in read_split(split, settings.fields, settings.part_rows):
                if part.id.index not in finished:
                    yield {"part": [pickle.dumps(part)]}
        except JobError as error:
            yield {"part": [pickle.dumps(JobFailure(str(error)))]}


def _describe(model: str, threads: int, device: str | None) -> ModelIdentity | str:
    limit_tokenizer_threads(threads)
    try:
        loaded = load_model(model, threads, device=device)
    except ModelError as error:
        return str(error)
    return ModelIdentity(loaded.fingerprint, loaded.dimension, loaded.max_tokens, loaded.precision)


def _silence_ray_data() -> None:
    """The command reports progress and errors itself."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Each row, which is a part, becomes a block at once instead of waiting until a larger block is full.
    context.target_max_block_size = 1
    for name in ("ray.data", "ray.data._internal.execution.streaming_executor"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"ray\..*")
