"""Encodes a part and commits it: the work of an actor of a job. Does not depend on Ray.

The texts of a part always make the same batches, so its vectors are the same bit for bit whenever it is encoded.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import Job, JobSettings
from shoal.cluster.jobs.encode.output import DATA, ERRORS, OutputFolder, PartManifest
from shoal.cluster.jobs.encode.reading import PartRecords
from shoal.cluster.jobs.encode.shared_lock import SharedLock
from shoal.cluster.jobs.encode.table import EncodedRows, parquet_of
from shoal.records import BadRow, RejectedRow
from shoal.workers.encoding import EmbeddingModel, Encoded, EncodeOptions, InferenceThreads
from shoal.workers.runtime import error_line

MOST_ATTEMPTS = 5
REPORTED_ROWS = 20
"""Bad rows of a part that are reported with it; its errors file has all of them."""
FLOAT16_RANGE = "the vector has numbers beyond the range of float16"


@dataclass(frozen=True, slots=True)
class PartReport:
    """The result of a part."""

    manifest: PartManifest
    rejected: tuple[RejectedRow, ...]
    """The first bad rows."""
    nulls: Mapping[str, int]
    """Rows by the field of their payload in which NaN or an infinity became null."""


class PartWriter:
    """Holds the model of one actor. Several threads may call `encode`: one tokenizes while another one computes."""

    def __init__(
        self,
        model: EmbeddingModel,
        job: Job,
        settings: JobSettings,
        output: OutputFolder,
        on_stall: Callable[[str], NoReturn],
    ) -> None:
        """Raises JobError when the model or the folder differs from the job's. For `on_stall` see InferenceThreads."""
        if model.fingerprint != job.model_fingerprint:
            raise JobError(
                f"model {settings.model!r} has fingerprint {model.fingerprint} on {os.uname().nodename}, but the job was"
                f" started with {job.model_fingerprint}: do all machines have the same model files?"
            )
        output.check_same(job.id)
        self._model = model
        self._job = job
        self._settings = settings
        self._output = output
        self._threads = InferenceThreads(model, on_stall)
        self._process = SharedLock()
        # One part at a time: two that share the inference threads would both be late.
        self._turn = threading.Lock()

    def encode(self, part: PartRecords) -> PartReport:
        """Encodes, writes and commits a part. Raises JobError or ModelError; the part is not committed then."""
        attempts = self._output.attempts(part.id)
        # A process died with this part, or with another one that ran beside it: alone, it shows which.
        with self._process.alone() if attempts else self._process.shared():
            if attempts >= MOST_ATTEMPTS:
                where = f"{part.records[0][0].source}:{part.records[0][0].line}" if part.records else "an empty part"
                raise JobError(
                    f"{part.id.name} (from {where} on): the encoder process died {attempts} times while it encoded this part"
                )
            self._output.count_attempts(part.id, attempts + 1)
            return self._finished(part)

    def _finished(self, part: PartRecords) -> PartReport:
        records = [record for _, record in part.records]
        encoded = self._encode([record.text for record in records], self._settings.options)
        vectors, errors = _narrowed(encoded, self._settings.dtype)
        good = [row for row, error in enumerate(errors) if not error]
        bad = list(part.bad)
        for (position, record), error in zip(part.records, errors, strict=True):
            if error:
                bad.append((position, BadRow(position.line, error, record.id)))
        data = None
        if good:
            rows = EncodedRows(
                [records[row] for row in good],
                vectors[good],
                [encoded.tokens[row] for row in good],
                [encoded.truncated[row] for row in good],
            )
            data = self._output.put(part.id.name + DATA, parquet_of(rows, self._job, self._settings.dtype))
        bad.sort(key=lambda one: (part.sources.index(one[0].source), one[0].line))
        rejected = [RejectedRow(position.source, row.line, row.reason, row.id) for position, row in bad]
        lines = "".join(f"{row.json}\n" for row in rejected)
        manifest = PartManifest(
            split=part.id.split,
            part=part.id.index,
            last=part.last,
            rows=len(good),
            bad_rows=len(bad),
            tokens=sum(encoded.tokens),
            truncated=sum(encoded.truncated),
            input_bytes=part.input_bytes,
            data=data,
            errors=self._output.put(part.id.name + ERRORS, lines.encode()) if lines else None,
        )
        self._output.commit(manifest)
        nulls = Counter(field for row in good for field in records[row].nulls)
        return PartReport(manifest, tuple(rejected[:REPORTED_ROWS]), nulls)

    def _encode(self, texts: Sequence[str], options: EncodeOptions) -> Encoded:
        """As `EmbeddingModel.encode`, but the inference threads compute the batches."""
        model = self._model
        try:
            tokenized = model.tokenize(texts, options)
        except ValueError as error:
            # A text that fails has its own error. What is raised concerns all texts, such as a prompt that is too long.
            raise JobError(error_line(error)) from error
        counts = [text.count for text in tokenized]
        with self._turn:
            return model.encode_tokenized(
                tokenized, options, lambda compute, batches: self._threads.run(compute, batches, counts)
            )


def _narrowed(encoded: Encoded, dtype: str) -> tuple[np.ndarray, list[str]]:
    if dtype == "float32":
        return encoded.vectors, encoded.errors
    with np.errstate(over="ignore"):
        vectors = encoded.vectors.astype(np.float16)
    fits = [bool(np.isfinite(vector).all()) for vector in vectors]
    return vectors, [error or ("" if fit else FLOAT16_RANGE) for error, fit in zip(encoded.errors, fits, strict=True)]
