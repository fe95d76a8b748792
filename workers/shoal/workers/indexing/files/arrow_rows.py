"""Rows as columns of an Arrow IPC file, and the metadata that says which shard they belong to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from shoal.workers.indexing.rows import Rows

FORMAT = 1

ROW_FIELDS = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("version", pa.int64(), nullable=False),
    # Null for a deletion, which then takes no space.
    pa.field("vector", pa.large_list(pa.field("item", pa.float32(), nullable=False))),
)


def row_columns(rows: Rows) -> list[pa.Array]:
    """The columns of ROW_FIELDS."""
    ends = np.cumsum(np.where(rows.deleted, 0, rows.dimension))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int64())
    values = pa.array(np.ascontiguousarray(rows.vectors, dtype=np.float32).ravel())
    vectors = pa.LargeListArray.from_arrays(offsets, values, type=ROW_FIELDS[2].type, mask=pa.array(rows.deleted))
    return [pa.array(rows.ids, pa.string()), pa.array(rows.versions, pa.int64()), vectors]


def rows_in(batch: pa.RecordBatch, dimension: int) -> Rows:
    """The rows in a batch of ROW_FIELDS; vectors are a view of its memory. Raises ValueError if the size does not match."""
    vectors = batch.column("vector")
    flat = vectors.flatten().to_numpy()
    deleted = vectors.is_null().to_numpy(zero_copy_only=False)
    if len(flat) != dimension * int(np.count_nonzero(~deleted)):
        raise ValueError(f"{len(flat)} components for {np.count_nonzero(~deleted)} vectors of {dimension}")
    return Rows(
        batch.column("id").to_pylist(),
        batch.column("version").to_numpy(),
        deleted,
        flat.reshape(-1, dimension),
    )


def check_metadata(found: Mapping[bytes, bytes] | None, expected: Mapping[str, str]) -> None:
    """Raises ValueError naming the first metadata entry of a file that differs from the expected one."""
    for key, value in expected.items():
        held = (found or {}).get(key.encode(), b"").decode(errors="replace")
        if held != value:
            raise ValueError(f"{key} is {held!r}, expected {value!r}")
