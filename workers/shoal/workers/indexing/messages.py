"""Converts between the wire types of index.proto and the plain types of this package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shoal.internal.v1 import index_pb2 as pb
from shoal.workers.indexing.manifest import IndexSpec, ManifestInfo, SealedInfo, SegmentInfo
from shoal.workers.indexing.metric import Floats
from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.shard import Hits, ShardStats


def key_of(message: pb.ShardKey) -> tuple[int, int]:
    """Generation and shard number."""
    return message.generation, message.shard


def spec_of(message: pb.IndexSpec) -> IndexSpec:
    """See IndexSpec; nothing is checked."""
    return IndexSpec(message.kind, message.metric, message.dimension)


def matrix_of(packed: bytes, dimension: int, field: str) -> Floats:
    """Packed little-endian float32 as (n, dimension); raises ValueError naming `field` if the last row is incomplete."""
    if dimension < 1:
        raise ValueError(f"dimension {dimension} is below 1")
    if len(packed) % (4 * dimension):
        raise ValueError(f"{field}: {len(packed)} bytes are not whole rows of {dimension} float32 components")
    return np.frombuffer(packed, dtype="<f4").reshape(-1, dimension)


def rows_of(message: pb.Rows, dimension: int) -> Rows:
    """See Rows; raises ValueError naming the invalid field."""
    return Rows(
        list(message.ids),
        np.array(message.versions, dtype=np.int64),
        np.array(message.deleted, dtype=np.bool_),
        matrix_of(message.vectors, dimension, "rows.vectors"),
    )


def manifest_of(message: pb.Manifest) -> ManifestInfo:
    """See ManifestInfo."""
    sealed = message.sealed
    return ManifestInfo(
        message.key.generation,
        message.key.shard,
        spec_of(message.spec),
        SealedInfo(sealed.through, sealed.path, sealed.checksum, sealed.rows, sealed.bytes)
        if message.HasField("sealed")
        else None,
        tuple(segment_of(segment) for segment in message.segments),
        message.damage_count,
    )


def segment_of(message: pb.SegmentFile) -> SegmentInfo:
    """See SegmentInfo."""
    return SegmentInfo(message.ordinal, message.path, message.checksum, message.rows, message.bytes)


def spec_message(spec: IndexSpec) -> pb.IndexSpec:
    """The inverse of `spec_of`."""
    return pb.IndexSpec(kind=spec.kind, metric=spec.metric, dimension=spec.dimension)


def manifest_message(manifest: ManifestInfo) -> pb.Manifest:
    """The inverse of `manifest_of`."""
    sealed = manifest.sealed
    return pb.Manifest(
        key=pb.ShardKey(generation=manifest.generation, shard=manifest.shard),
        spec=spec_message(manifest.spec),
        sealed=pb.SealedFile(
            through=sealed.through, path=sealed.path, checksum=sealed.checksum, rows=sealed.rows, bytes=sealed.bytes
        )
        if sealed
        else None,
        segments=segment_messages(manifest.segments),
        damage_count=manifest.damage_count,
    )


def segment_message(segment: SegmentInfo) -> pb.SegmentFile:
    """The inverse of `segment_of`."""
    return pb.SegmentFile(
        ordinal=segment.ordinal,
        path=segment.path,
        checksum=segment.checksum,
        rows=segment.rows,
        bytes=segment.bytes,
    )


def segment_messages(segments: Sequence[SegmentInfo]) -> list[pb.SegmentFile]:
    """`segment_message` of each."""
    return [segment_message(segment) for segment in segments]


def stats_message(key: tuple[int, int], stats: ShardStats) -> pb.ShardStats:
    """A shard's counts on the wire."""
    return pb.ShardStats(
        key=pb.ShardKey(generation=key[0], shard=key[1]),
        through=stats.through,
        live=stats.live,
        sealed_rows=stats.sealed_rows,
        sealed_dead=stats.sealed_dead,
        delta_rows=stats.delta_rows,
        segments=stats.segments,
        damage_count=stats.damage_count,
    )


def hits_message(hits: Hits) -> pb.ShardHits:
    """A shard's answers on the wire."""
    return pb.ShardHits(
        counts=hits.counts,
        ids=hits.ids,
        versions=hits.versions,
        scores=hits.scores,
        through=hits.through,
        damage_count=hits.damage_count,
    )
