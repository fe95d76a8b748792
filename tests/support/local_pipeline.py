"""Runs the pipeline of `shoal encode` in this process, without Ray, so that its command can be tested in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from shoal.cluster.jobs.encode import running
from shoal.cluster.jobs.encode.job import ModelIdentity
from shoal.cluster.jobs.encode.output import OutputFolder
from shoal.cluster.jobs.encode.part_writer import PartReport, PartWriter
from shoal.cluster.jobs.encode.pipeline import JobRun, Replicas
from shoal.cluster.jobs.encode.reading import read_split
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.encoded_output import stalled

DIMENSION = 16
MODEL = f"hashing:{DIMENSION}"


def use_local_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """For jobs with MODEL. Parts finish in reverse order, as those of several processes may."""
    monkeypatch.setattr(running, "joined_ray", lambda cores: nullcontext())
    monkeypatch.setattr(running, "with_defaults", lambda wanted: wanted)
    monkeypatch.setattr(running, "describe_model", _describe)
    monkeypatch.setattr(running, "write_parts", _write_parts)


def _describe(name: str, replicas: Replicas) -> ModelIdentity:
    assert name == MODEL
    model = HashingModel(DIMENSION)
    return ModelIdentity(model.fingerprint, model.dimension, model.max_tokens, model.precision)


def _write_parts(run: JobRun, replicas: Replicas) -> Iterator[PartReport]:
    writer = PartWriter(HashingModel(DIMENSION), run.job, run.settings, OutputFolder(run.output), stalled)
    parts = [
        part
        for split in run.splits
        for part in read_split(split, run.settings.fields, run.settings.part_rows)
        if part.id.index not in run.skipped.get(split.index, frozenset())
    ]
    yield from map(writer.encode, reversed(parts))
