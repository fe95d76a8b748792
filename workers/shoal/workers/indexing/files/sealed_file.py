"""A sealed part as one immutable Arrow IPC file: live rows with prepared vectors, deletions, and the index's own bytes.

The first batch holds the rows; a second, of one row, holds the bytes that the index dumped.
"""

from __future__ import annotations

import secrets

import numpy as np
import pyarrow as pa

from shoal.workers.indexing.files.arrow_rows import FORMAT, ROW_FIELDS, check_metadata, row_columns, rows_in
from shoal.workers.indexing.files.storage import DamagedFile, Storage
from shoal.workers.indexing.kinds.registry import index_class
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo, SealedInfo
from shoal.workers.indexing.metric import Floats
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.sealed_part import SealedPart
from shoal.workers.runtime import first_error_line

_SCHEMA = pa.schema([*ROW_FIELDS, pa.field("index", pa.large_binary())])


def write_sealed(
    storage: Storage, generation: int, shard: int, spec: IndexSpec, part: SealedPart, vectors: Floats
) -> SealedInfo:
    """Writes a part and the prepared vectors (n, dim) of its rows. Raises OSError when storage fails."""
    path = f"{generation}/{shard}/sealed-{part.through:010d}-{secrets.token_hex(4)}.arrow"
    dead = len(part.deleted_ids)
    rows = Rows(
        part.ids + part.deleted_ids,
        np.concatenate([part.versions, part.deleted_versions]),
        np.concatenate([np.zeros(len(part.ids), dtype=np.bool_), np.ones(dead, dtype=np.bool_)]),
        vectors,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _SCHEMA.with_metadata(_metadata(generation, shard, part.through, spec))) as writer:
        writer.write_batch(pa.record_batch([*row_columns(rows), pa.nulls(len(rows), pa.large_binary())], schema=_SCHEMA))
        blob = pa.array([part.index.dump()], pa.large_binary())
        unused = [pa.array([""]), pa.array([0], pa.int64()), pa.nulls(1, ROW_FIELDS[2].type)]
        writer.write_batch(pa.record_batch([*unused, blob], schema=_SCHEMA))
    data = sink.getvalue()
    return SealedInfo(part.through, path, storage.write(path, data), len(part.ids), data.size)


def read_sealed(storage: Storage, manifest: ManifestInfo, sealed: SealedInfo) -> SealedPart:
    """The sealed part of `manifest`; raises DamagedFile when the file does not match the manifest."""
    spec = manifest.spec
    data = storage.read(sealed.path, sealed.checksum)
    try:
        reader = pa.ipc.open_file(data)
        check_metadata(reader.schema.metadata, _metadata(manifest.generation, manifest.shard, sealed.through, spec))
        rows = rows_in(reader.get_batch(0), spec.dimension)
        blob = reader.get_batch(1).column("index")[0].as_buffer()
        live = len(rows.vectors)
        if rows.deleted[:live].any():
            raise ValueError("deletions come before live rows")
        # Versions are copied: a view would keep the whole file in memory while the shard is open.
        versions = rows.versions.copy()
        return SealedPart(
            through=sealed.through,
            ids=rows.ids[:live],
            versions=versions[:live],
            index=index_class(spec.kind).load(memoryview(blob), rows.vectors, spec.metric),
            deleted_ids=rows.ids[live:],
            deleted_versions=versions[live:],
        )
    except (pa.ArrowException, KeyError, IndexError, ValueError) as error:
        raise DamagedFile(sealed.path, "unreadable", first_error_line(error)) from None


def _metadata(generation: int, shard: int, through: int, spec: IndexSpec) -> dict[str, str]:
    return {
        "shoal.file": "sealed",
        "shoal.format": str(FORMAT),
        "shoal.generation": str(generation),
        "shoal.shard": str(shard),
        "shoal.through": str(through),
        "shoal.kind": spec.kind,
        "shoal.metric": spec.metric,
        "shoal.dimension": str(spec.dimension),
    }
