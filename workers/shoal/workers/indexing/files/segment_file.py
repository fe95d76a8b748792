"""A segment as an immutable Arrow IPC file: rows in order, and the shard they belong to."""

from __future__ import annotations

import secrets

import pyarrow as pa

from shoal.workers.indexing.files.arrow_rows import FORMAT, ROW_FIELDS, check_metadata, row_columns, rows_in
from shoal.workers.indexing.files.storage import DamagedFile, Storage
from shoal.workers.indexing.manifest import ManifestInfo, SegmentInfo
from shoal.workers.indexing.rows import Rows
from shoal.workers.runtime import first_error_line


def write_segment(storage: Storage, generation: int, shard: int, ordinal: int, rows: Rows, epoch: int = 0) -> SegmentInfo:
    """Writes rows to a file name that is unique to this attempt. Raises OSError when storage fails."""
    path = f"{generation}/{shard}/segment-{ordinal:010d}-{epoch}-{secrets.token_hex(4)}.arrow"
    metadata = _metadata(generation, shard, ordinal, rows.dimension)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema(ROW_FIELDS, metadata)) as writer:
        writer.write_batch(pa.record_batch(row_columns(rows), schema=pa.schema(ROW_FIELDS)))
    data = sink.getvalue()
    return SegmentInfo(ordinal, path, storage.write(path, data), len(rows), data.size)


def read_segment(storage: Storage, manifest: ManifestInfo, segment: SegmentInfo) -> Rows:
    """The rows of a segment of `manifest`; raises DamagedFile when the file does not match the manifest."""
    data = storage.read(segment.path, segment.checksum)
    try:
        reader = pa.ipc.open_file(data)
        expected = _metadata(manifest.generation, manifest.shard, segment.ordinal, manifest.spec.dimension)
        check_metadata(reader.schema.metadata, expected)
        return rows_in(reader.get_batch(0), manifest.spec.dimension)
    except (pa.ArrowException, KeyError, IndexError, ValueError) as error:
        raise DamagedFile(segment.path, "unreadable", first_error_line(error)) from None


def _metadata(generation: int, shard: int, ordinal: int, dimension: int) -> dict[str, str]:
    return {
        "shoal.file": "segment",
        "shoal.format": str(FORMAT),
        "shoal.generation": str(generation),
        "shoal.shard": str(shard),
        "shoal.ordinal": str(ordinal),
        "shoal.dimension": str(dimension),
    }
