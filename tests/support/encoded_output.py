"""Writes the output folder of a job in this process, without Ray: for tests of what reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from shoal.cluster.jobs.encode.job import JobSettings, ModelIdentity, plan_job
from shoal.cluster.jobs.encode.output import OutputFolder
from shoal.cluster.jobs.encode.part_writer import PartWriter
from shoal.cluster.jobs.encode.parts import plan_splits
from shoal.cluster.jobs.encode.reading import read_split
from shoal.records import find_inputs
from shoal.workers.encoding.model import EmbeddingModel


def stalled(reason: str) -> NoReturn:
    """For encoders whose batches all end."""
    raise AssertionError(reason)


def write_output(folder: Path, rows: Sequence[Mapping[str, Any]], model: EmbeddingModel, settings: JobSettings) -> Path:
    """Encodes `rows` to `folder`/out, beside the file that they were read from; returns the folder of the output."""
    corpus = folder / "rows.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    [files] = find_inputs([str(corpus)])
    output = OutputFolder(str(folder / "out"))
    identity = ModelIdentity(model.fingerprint, model.dimension, model.max_tokens, model.precision)
    job = output.begin(plan_job("job", settings, identity, files), overwrite=False)
    encoder = PartWriter(model, job, settings, output, stalled)
    for split in plan_splits(files):
        for part in read_split(split, settings.fields, settings.part_rows):
            encoder.encode(part)
    output.conclude(b"{}")
    output.close()
    return folder / "out"
