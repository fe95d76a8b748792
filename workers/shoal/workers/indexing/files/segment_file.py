"""A segment as an immutable Arrow IPC file: applied rows in order, and whose they are."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from shoal.workers.indexing.files.storage import DamagedFile, Storage
from shoal.workers.indexing.manifest import ManifestInfo, SegmentInfo
from shoal.workers.indexing.rows import Rows

FORMAT = 1

ROW_FIELDS = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("version", pa.int64(), nullable=False),
    # Null where the row is a deletion, which then takes no room.
    pa.field("vector", pa.large_list(pa.field("item", pa.float32(), nullable=False))),
)


def write_segment(storage: Storage, generation: int, shard: int, ordinal: int, rows: Rows, epoch: int = 0) -> SegmentInfo:
    """Writes rows under a name that no other attempt at this ordinal shares. Raises OSError when storage fails."""
    path = f"{generation}/{shard}/segment-{ordinal:010d}-{epoch}-{secrets.token_hex(4)}.arrow"
    metadata = _metadata(generation, shard, ordinal, rows.dimension)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema(ROW_FIELDS, metadata)) as writer:
        writer.write_batch(pa.record_batch(row_columns(rows), schema=pa.schema(ROW_FIELDS)))
    data = sink.getvalue()
    return SegmentInfo(ordinal, path, storage.write(path, data), len(rows), data.size)


def read_segment(storage: Storage, manifest: ManifestInfo, segment: SegmentInfo) -> Rows:
    """The rows of a segment of `manifest`; raises DamagedFile when the file is not what the manifest says."""
    data = storage.read(segment.path, segment.checksum)
    try:
        reader = pa.ipc.open_file(data)
        expected = _metadata(manifest.generation, manifest.shard, segment.ordinal, manifest.spec.dimension)
        check_metadata(reader.schema.metadata, expected)
        return rows_of(reader.get_batch(0), manifest.spec.dimension)
    except (pa.ArrowException, KeyError, IndexError, ValueError) as error:
        raise DamagedFile(segment.path, "unreadable", str(error).splitlines()[0]) from None


def row_columns(rows: Rows) -> list[pa.Array]:
    """The columns of ROW_FIELDS."""
    ends = np.cumsum(np.where(rows.deleted, 0, rows.dimension))
    offsets = pa.array(np.concatenate([[0], ends]), pa.int64())
    values = pa.array(np.ascontiguousarray(rows.vectors, dtype=np.float32).ravel())
    vectors = pa.LargeListArray.from_arrays(offsets, values, type=ROW_FIELDS[2].type, mask=pa.array(rows.deleted))
    return [pa.array(rows.ids, pa.string()), pa.array(rows.versions, pa.int64()), vectors]


def rows_of(batch: pa.RecordBatch, dimension: int) -> Rows:
    """The rows in a batch of ROW_FIELDS; vectors are a view of its memory. Raises ValueError when they do not fit."""
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
    """Raises ValueError naming the first entry of a file's metadata that is not as expected."""
    for key, value in expected.items():
        held = (found or {}).get(key.encode(), b"").decode(errors="replace")
        if held != value:
            raise ValueError(f"{key} is {held!r}, wanted {value!r}")


def _metadata(generation: int, shard: int, ordinal: int, dimension: int) -> dict[str, str]:
    return {
        "shoal.file": "segment",
        "shoal.format": str(FORMAT),
        "shoal.generation": str(generation),
        "shoal.shard": str(shard),
        "shoal.ordinal": str(ordinal),
        "shoal.dimension": str(dimension),
    }
