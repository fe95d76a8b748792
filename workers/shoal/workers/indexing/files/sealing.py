"""Makes a new sealed file from a shard's sealed file and segments: the body of a task that may run on any machine."""

from __future__ import annotations

import numpy as np

from shoal.workers.indexing.files.sealed_file import read_sealed, write_sealed
from shoal.workers.indexing.files.segment_file import read_segment
from shoal.workers.indexing.files.storage import Storage
from shoal.workers.indexing.kinds.registry import build_index
from shoal.workers.indexing.manifest import ManifestInfo, SealedInfo
from shoal.workers.indexing.metric import Floats, Ints
from shoal.workers.indexing.shard.sealed_part import NO_ROW, SealedPart
from shoal.workers.indexing.shard.shard import Snapshot


def seal(storage_root: str, manifest: ManifestInfo, threads: int = 1) -> SealedInfo:
    """Writes a sealed file that replaces all files of `manifest`; no manifest names it yet.

    Dead rows are left out. The versions of deletions stay: a later segment may hold an older row of a deleted document,
    which would otherwise bring it back. With one thread the same input gives the same index.
    Raises DamagedFile for a damaged file, ValueError for an empty manifest, OSError when storage fails.
    """
    if manifest.through == 0:
        raise ValueError(f"shard {manifest.generation}/{manifest.shard} has nothing to seal")
    storage = Storage(storage_root)
    snapshot = load(storage, manifest)
    ids, versions, vectors = _live_rows(snapshot)
    deleted = _deletions(snapshot)
    part = SealedPart(
        through=manifest.through,
        ids=ids,
        versions=versions,
        index=build_index(manifest.spec, vectors, threads),
        deleted_ids=sorted(deleted),
        deleted_versions=np.array([deleted[document_id] for document_id in sorted(deleted)], dtype=np.int64),
    )
    return write_sealed(storage, manifest.generation, manifest.shard, manifest.spec, part, vectors)


def load(storage: Storage, manifest: ManifestInfo) -> Snapshot:
    """The state of a manifest, read from its files alone; raises DamagedFile at the first that is damaged."""
    sealed = read_sealed(storage, manifest, manifest.sealed) if manifest.sealed else None
    rows = [(segment.ordinal, read_segment(storage, manifest, segment)) for segment in manifest.segments]
    return Snapshot.empty(manifest.spec, sealed).extended(rows)


def _live_rows(snapshot: Snapshot) -> tuple[list[str], Ints, Floats]:
    """Ids, versions (n,) and prepared vectors (n, dim) of all live rows, in order of id."""
    delta, sealed = snapshot.delta, snapshot.sealed
    fresh = np.flatnonzero(delta.alive)
    ids = [delta.id_at(row) for row in fresh.tolist()]
    versions, vectors = delta.versions[fresh], delta.vectors[fresh]
    if sealed is not None:
        kept = np.flatnonzero(snapshot.sealed_alive)
        ids += [sealed.ids[row] for row in kept.tolist()]
        versions = np.concatenate([versions, sealed.versions[kept]])
        vectors = np.concatenate([vectors, sealed.index.vectors(kept)])
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return [ids[row] for row in order], versions[order], vectors[order]


def _deletions(snapshot: Snapshot) -> dict[str, int]:
    """Version of each document whose newest row is a deletion."""
    sealed, held = snapshot.sealed, snapshot.delta.held
    deleted: dict[str, int] = {}
    if sealed is not None:
        deleted.update(zip(sealed.deleted_ids, sealed.deleted_versions.tolist(), strict=True))
    for document_id, state in held.items():
        if state.row == NO_ROW:
            deleted[document_id] = state.version
        else:
            deleted.pop(document_id, None)
    return deleted
