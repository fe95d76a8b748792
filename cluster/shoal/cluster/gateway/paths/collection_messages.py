"""Builds replies about collections from ledger records and the routing table. Pure."""

from __future__ import annotations

from shoal.cluster.gateway.paths.coverage import Freshness
from shoal.cluster.ledger.records import CollectionSettings, Cut
from shoal.cluster.rpc.routing import ModelId, RoutingTable, ShardId
from shoal.v1 import collections_pb2

_INDEXES = {
    "flat": collections_pb2.INDEX_KIND_FLAT,
    "hnsw": collections_pb2.INDEX_KIND_HNSW,
    "ivf": collections_pb2.INDEX_KIND_IVF,
}
_METRICS = {
    "cosine": collections_pb2.METRIC_COSINE,
    "dot": collections_pb2.METRIC_DOT,
    "l2": collections_pb2.METRIC_L2,
}
_EMPTY_TEXTS = {"reject": collections_pb2.EMPTY_TEXT_REJECT, "store": collections_pb2.EMPTY_TEXT_STORE}


def settings_message(settings: CollectionSettings, dimension: int) -> collections_pb2.CollectionSettings:
    """A collection's settings as a message; `dimension` is that of its generation, as users may leave it out."""
    return collections_pb2.CollectionSettings(
        model=settings.model,
        dimension=dimension,
        index=_INDEXES[settings.index],
        metric=_METRICS[settings.metric],
        shards=settings.shards,
        empty_text=_EMPTY_TEXTS[settings.empty_text],
    )


def collection_message(cut: Cut, table: RoutingTable, now_ms: int) -> collections_pb2.Collection:
    """A collection with its counts from the ledger and its shards from the routing table."""
    freshness = Freshness.of(cut, now_ms)
    outage = table.outage(ModelId(cut.generation.model, cut.generation.fingerprint))
    message = collections_pb2.Collection(
        name=cut.collection.name,
        settings=settings_message(cut.collection.settings, cut.generation.dimension),
        generation=cut.generation.number,
        fingerprint=cut.generation.fingerprint,
        documents=sum(shard.documents for shard in cut.shards),
        pending=freshness.pending,
        failed=cut.failed,
        lag_ms=freshness.lag_ms,
        created_at_ms=cut.collection.created_at_ms,
        problem=outage.reason if outage is not None else "",
    )
    for shard in cut.shards:
        location = table.shards.get(ShardId(cut.generation.id, shard.number))
        state = location.stats if location is not None else None
        message.shards.add(
            number=shard.number,
            worker=shard.worker,
            address=location.address if location is not None else "",
            ready=state is not None,
            documents=shard.documents,
            sealed_rows=state.sealed_rows if state is not None else 0,
            delta_rows=state.delta_rows if state is not None else 0,
            segments=state.segments if state is not None else 0,
        )
    return message
