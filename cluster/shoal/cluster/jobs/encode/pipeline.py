"""The job as a Ray Data pipeline: splits → tasks that read → actors that encode and commit → reports. The one place in
`jobs` that knows Ray; what tasks and actors do is `reading`'s and `encoding`'s.

A row of the dataset is a whole part, so that no block ever holds half of one: a part that Ray runs twice writes the same
files twice.
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
from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.model import DeviceLost, ModelError
from shoal.workers.encoding.replica.process_end import end_process
from shoal.workers.runtime import limit_tokenizer_threads

CALLS_PER_ACTOR = 2
"""One part is computed while the next is tokenised and the one before it is written."""
READERS_PER_REPLICA = 2


@dataclass(frozen=True, slots=True)
class Replicas:
    """The actors that encode; 0 leaves a number to `placed`."""

    count: int = 0
    threads: int = 0
    """CPU threads of each, and the CPUs that Ray reserves for it."""
    gpus: float = 0.0
    """GPU share of each."""

    @property
    def device(self) -> str | None:
        """What `load_model` is told: Ray hides no GPU from those who asked for none."""
        return None if self.gpus else "cpu"


@dataclass(frozen=True, slots=True)
class Work:
    """What a run of a job is to do."""

    job: Job
    settings: JobSettings
    output: str
    splits: Sequence[Split]
    """Those of which something is left to do."""
    skipped: Mapping[int, frozenset[int]]
    """By split, the parts that are finished."""


def placed(wanted: Replicas) -> Replicas:
    """`wanted` with numbers in place of zeros, after what the Ray cluster has; raises JobError when it has too little."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    cores = max((int(node["CPU"]) for node in nodes), default=0)
    if wanted.gpus > 0 and gpus < wanted.gpus:
        raise JobError(f"--gpus {wanted.gpus:g}: the Ray cluster has {gpus:g}")
    if max(1, wanted.threads) > cores:
        raise JobError(f"--threads {max(1, wanted.threads)}: the largest node of the Ray cluster has {cores} CPUs")
    count = wanted.count or max(1, int(gpus / wanted.gpus) if wanted.gpus > 0 else len(nodes))
    free = int(ray.available_resources().get("CPU", 0))
    # What other work on the cluster holds is not waited for.
    threads = wanted.threads or max(1, min(cores, free // count))
    total = sum(int(node["CPU"]) // threads for node in nodes)
    if count > total:
        raise JobError(f"--replicas {count}: with {threads} threads each, the Ray cluster has room for {total}")
    return Replicas(count, threads, wanted.gpus)


def describe_model(model: str, replicas: Replicas) -> ModelIdentity:
    """What the model is where it will run; raises JobError when it cannot be loaded there."""
    task = ray.remote(_describe).options(num_cpus=replicas.threads, num_gpus=replicas.gpus)
    try:
        answer = ray.get(task.remote(model, replicas.threads, replicas.device))
    except RayError as error:
        raise JobError(f"the pipeline failed: {ray_error_line(error)}") from error
    if isinstance(answer, str):
        raise JobError(answer)
    return answer


def write_parts(work: Work, replicas: Replicas) -> Iterator[PartReport]:
    """Runs the pipeline; a part is committed when its report comes out. Raises JobError."""
    _quieten()
    rows = [{"split": pickle.dumps((split, work.skipped.get(split.number, frozenset())))} for split in work.splits]
    # A block of its own for each, so that every split is read by a task of its own.
    splits = ray.data.from_items(rows, override_num_blocks=len(rows))
    parts = splits.map_batches(
        cast(Any, _read_split),
        batch_size=1,
        # Not reserved: the encoders have every core, and would keep the readers from ever starting.
        num_cpus=0,
        compute=TaskPoolStrategy(size=READERS_PER_REPLICA * replicas.count),
        fn_kwargs={"settings": work.settings},
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
            "job": work.job,
            "settings": work.settings,
            "output": work.output,
            "threads": replicas.threads,
            "device": replicas.device,
        },
    )
    try:
        for row in reports.iter_rows():
            report = pickle.loads(row["report"])
            if isinstance(report, _Failure):
                raise JobError(report.reason)
            yield report
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"the pipeline failed: {ray_error_line(error)}") from error


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why the job cannot go on, on its way to the driver: of an exception Ray Data keeps the traceback alone."""

    reason: str


class _Encoder:
    """One actor of the pool: Ray Data calls it with parts, from several threads."""

    def __init__(self, job: Job, settings: JobSettings, output: str, threads: int, device: str | None) -> None:
        limit_tokenizer_threads(threads)
        try:
            model = load_model(settings.model, threads, device=device)
            self._encoder = PartWriter(model, job, settings, OutputFolder(output), end_process)
        except (JobError, ModelError) as error:
            self._encoder = _Failure(str(error))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"report": [pickle.dumps(self._report(pickle.loads(part))) for part in batch["part"]]}

    def _report(self, part: PartRecords | _Failure) -> PartReport | _Failure:
        if isinstance(self._encoder, _Failure):
            return self._encoder
        if isinstance(part, _Failure):
            return part
        try:
            return self._encoder.encode(part)
        except DeviceLost as error:
            # Ray runs the part in the process that comes after this one.
            end_process(str(error))
        except (JobError, ModelError) as error:
            return _Failure(str(error))


def _read_split(batch: dict[str, Any], settings: JobSettings) -> Iterator[dict[str, list[bytes]]]:
    for packed in batch["split"]:
        split, finished = pickle.loads(packed)
        try:
            for part in read_split(split, settings.fields, settings.part_rows):
                if part.id.index not in finished:
                    yield {"part": [pickle.dumps(part)]}
        except JobError as error:
            yield {"part": [pickle.dumps(_Failure(str(error)))]}


def _describe(model: str, threads: int, device: str | None) -> ModelIdentity | str:
    limit_tokenizer_threads(threads)
    try:
        loaded = load_model(model, threads, device=device)
    except ModelError as error:
        return str(error)
    return ModelIdentity(loaded.fingerprint, loaded.dimension, loaded.max_tokens, loaded.precision)


def _quieten() -> None:
    """Progress and errors are told by the command itself."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Every row, which is a part, becomes a block at once: it is not held until others have filled a larger one.
    context.target_max_block_size = 1
    for name in ("ray.data", "ray.data._internal.execution.streaming_executor"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"ray\..*")
