"""The Parquet file of a part: its columns and metadata. `shoal import` reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from shoal.cluster.decisions.admission import content_hash
from shoal.cluster.jobs.encode.input_record import InputRecord
from shoal.cluster.jobs.encode.job import Job

METADATA_KEY = b"shoal"
HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Records with their vectors; all fields have the same length."""

    records: Sequence[InputRecord]
    vectors: np.ndarray
    """(n, dimension), float32 or float16."""
    tokens: Sequence[int]
    truncated: Sequence[bool]


def schema_of(job: Job, dtype: str) -> pa.Schema:
    """The columns of a job's files. Vectors with the same `fingerprint` can be compared; `content_hash` is the ledger's hash
    of the text."""
    element = pa.float32() if dtype == "float32" else pa.float16()
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.field("item", element, nullable=False), job.dimension), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("content_hash", pa.binary(HASH_BYTES), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("payload", pa.string(), nullable=False),
    ]
    metadata = {"model": job.model, "model_fingerprint": job.model_fingerprint, "settings": job.settings}
    return pa.schema(fields, {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})


def parquet_of(rows: EncodedRows, job: Job, dtype: str) -> pa.Buffer:
    """The bytes of a Parquet file; the same rows give the same bytes."""
    schema = schema_of(job, dtype)
    records = rows.records
    values = pa.array(np.ascontiguousarray(rows.vectors).ravel())
    columns = [
        pa.array([record.id for record in records], pa.string()),
        pa.array([record.text for record in records], pa.string()),
        pa.FixedSizeListArray.from_arrays(values, type=schema.field("vector").type),
        pa.array([job.fingerprint] * len(records), pa.string()),
        pa.array([content_hash(record.text, b"") for record in records], pa.binary(HASH_BYTES)),
        pa.array(rows.tokens, pa.int32()),
        pa.array(rows.truncated, pa.bool_()),
        pa.array([record.payload for record in records], pa.string()),
    ]
    sink = pa.BufferOutputStream()
    # A dictionary of ids, texts or vectors would be larger than they are.
    table = pa.Table.from_arrays(columns, schema=schema)
    pyarrow.parquet.write_table(table, sink, compression="zstd", use_dictionary=False)
    return sink.getvalue()
