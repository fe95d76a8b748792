"""Writes the output folder of a job in this process, without Ray, for tests of its readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow.parquet

from shoal.cluster.jobs.encode.job import JobSettings, ModelIdentity, plan_job
from shoal.cluster.jobs.encode.output import OutputFolder
from shoal.cluster.jobs.encode.part_writer import PartWriter
from shoal.cluster.jobs.encode.parts import plan_splits
from shoal.cluster.jobs.encode.reading import read_split
from shoal.records import USUAL_FIELDS, Fields, find_inputs
from shoal.workers.encoding.model import EmbeddingModel
from shoal.workers.encoding.static.hashing_model import HashingModel


def stalled(reason: str) -> NoReturn:
    """For encoders whose batches never stall."""
    raise AssertionError(reason)


def write_output(folder: Path, rows: Sequence[Mapping[str, Any]], model: EmbeddingModel, settings: JobSettings) -> Path:
    """Encodes `rows` to `folder`/out, next to their file; returns the folder of the output."""
    corpus = folder / "rows.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    encode_files([corpus], folder / "out", model, settings)
    return folder / "out"


def encode_files(inputs: Sequence[Path], out: Path, model: EmbeddingModel, settings: JobSettings) -> None:
    """Encodes files and folders to the folder `out`."""
    files = [file for found in find_inputs([str(path) for path in inputs]) for file in found]
    output = OutputFolder(str(out))
    identity = ModelIdentity(model.fingerprint, model.dimension, model.max_tokens, model.precision)
    job = output.begin(plan_job("job", settings, identity, files), overwrite=False)
    encoder = PartWriter(model, job, settings, output, stalled)
    for split in plan_splits(files):
        for part in read_split(split, settings.fields, settings.part_rows):
            encoder.encode(part)
    output.conclude(b"{}")
    output.close()


@dataclass(frozen=True)
class Taken:
    """The result of a command on some files."""

    ids: list[str]
    """Sorted."""
    rejected: list[tuple[str, int, str]]
    """Path, line and reason, in order."""


def taken_by_encode(inputs: Sequence[Path], out: Path, fields: Fields = USUAL_FIELDS) -> Taken:
    """The rows that `shoal encode` reads from files and folders, with a hashing model."""
    encode_files(inputs, out, HashingModel(16), JobSettings("hashing:16", fields=fields))
    ids = [id for path in out.glob("part-*.parquet") for id in pyarrow.parquet.read_table(path).column("id").to_pylist()]
    errors = [json.loads(line) for path in sorted(out.glob("part-*.errors.jsonl")) for line in path.read_text().splitlines()]
    return Taken(sorted(ids), [(error["source"], error["line"], error["reason"]) for error in errors])
