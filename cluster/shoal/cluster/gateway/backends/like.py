"""The vector of a document, as the query of a search for what is like it."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.cluster.errors import InvalidRequest, Unavailable, quoted
from shoal.cluster.gateway.backends.index_shards import RETRY_AFTER_MS, IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.ledger.errors import DocumentNotFound
from shoal.cluster.ledger.records import Cut, GenerationExplanation
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ShardId


@dataclass(frozen=True, slots=True)
class QueryVector:
    """What a search compares documents with."""

    packed: bytes
    """Little-endian float32."""
    encode_s: float = 0.0
    document: str = ""
    """Id of the document whose vector it is."""
    version: int = 0
    """Content version of that document which the vector was made for."""


async def vector_like(
    reads: LedgerReads,
    index_shards: IndexShards,
    cut: Cut,
    document_id: str,
    deadline: Deadline,
    patience: Deadline | None = None,
) -> QueryVector:
    """The vector with which searches find a document, at least as new as the cut.

    It may be of an earlier version while the newest is pending. Raises DocumentNotFound, InvalidRequest for a document that
    gets no vector, and Unavailable for one that has none yet.
    """
    name = cut.collection.name
    explained = await reads.explain(name, document_id)
    state = next((one for one in explained.generations if one.generation.id == cut.generation.id), None)
    if explained.deleted or state is None:
        raise DocumentNotFound(name, document_id)
    through = next(shard.through for shard in cut.shards if shard.number == state.shard)
    version, packed = 0, b""
    # A shard without segments has no vectors, and may not be served.
    if through:
        shard = ShardId(cut.generation.id, state.shard)
        version, packed = await index_shards.vector(shard, document_id, through, deadline, patience)
    check_vector_of(document_id, state, version)
    return QueryVector(packed, document=document_id, version=version)


def check_vector_of(document_id: str, state: GenerationExplanation, version: int) -> None:
    """Whether version `version` of a document's vector, 0 for none, can be a query; see `vector_like`. Pure."""
    if version >= state.wanted_version:
        return
    if state.failed:
        raise InvalidRequest(f"like: document {quoted(document_id)} could not be embedded: {state.error}", field="like")
    if version == 0 and state.embedded_version >= state.wanted_version:
        raise InvalidRequest(f"like: document {quoted(document_id)} has neither text nor vector", field="like")
    if version == 0:
        raise Unavailable(f"like: document {quoted(document_id)} is not embedded yet", retry_after_ms=RETRY_AFTER_MS)
