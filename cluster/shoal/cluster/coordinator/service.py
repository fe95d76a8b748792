"""CoordinatorService: decodes what gateways ask, has the coordinator do it, and encodes the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import grpc
import grpc.aio

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.core import Coordinator, CoordinatorParts
from shoal.cluster.decisions.access import AccessLevel
from shoal.cluster.decisions.admission import Incoming, Precomputed
from shoal.cluster.errors import ClusterError, DeadlineExceeded, InvalidRequest, VersionConflict, from_ledger, refuse
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.ledger.records import CollectionSettings, DocumentOutcome, WriteBatch
from shoal.cluster.rpc.key_messages import key_message
from shoal.internal.v1 import coordinator_pb2, coordinator_pb2_grpc
from shoal.v1 import collections_pb2, documents_pb2, keys_pb2

Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext

DEFAULT_TIMEOUT_S = 60.0

# Unspecified is the server's choice.
_INDEXES = {
    collections_pb2.INDEX_KIND_FLAT: "flat",
    collections_pb2.INDEX_KIND_HNSW: "hnsw",
    collections_pb2.INDEX_KIND_IVF: "ivf",
    collections_pb2.INDEX_KIND_UNSPECIFIED: "hnsw",
}
_METRICS = {
    collections_pb2.METRIC_COSINE: "cosine",
    collections_pb2.METRIC_DOT: "dot",
    collections_pb2.METRIC_L2: "l2",
    collections_pb2.METRIC_UNSPECIFIED: "cosine",
}
_EMPTY_TEXTS = {
    collections_pb2.EMPTY_TEXT_REJECT: "reject",
    collections_pb2.EMPTY_TEXT_STORE: "store",
    collections_pb2.EMPTY_TEXT_UNSPECIFIED: "reject",
}


def settings_of(message: collections_pb2.CollectionSettings, default_shards: int) -> CollectionSettings:
    """The requested settings, with the server's defaults filled in; raises InvalidRequest for a value it does not know."""
    return CollectionSettings(
        model=message.model,
        dimension=message.dimension,
        index=_known("settings.index", message.index, _INDEXES),
        metric=_known("settings.metric", message.metric, _METRICS),
        shards=message.shards or default_shards,
        empty_text=_known("settings.empty_text", message.empty_text, _EMPTY_TEXTS),
    )


def batch_of(request: coordinator_pb2.WriteRequest) -> WriteBatch:
    """The request in the ledger's form."""
    return WriteBatch(
        collection=request.collection,
        upserts=[
            Incoming(
                id=document.id,
                text=document.text,
                vector=document.vector,
                payload=document.payload or "{}",
                expected_version=document.expected_version if document.HasField("expected_version") else None,
                precomputed=precomputed_of(document),
            )
            for document in request.upserts
        ],
        deletes=list(request.deletes),
        source=request.source,
    )


def precomputed_of(document: documents_pb2.Document) -> Precomputed | None:
    """The vector that came with a document, if any."""
    if not document.HasField("embedding"):
        return None
    embedding = document.embedding
    return Precomputed(embedding.vector, embedding.fingerprint, embedding.content_hash, embedding.truncated)


def result_of(outcome: DocumentOutcome) -> documents_pb2.WriteResult:
    """The message for one document's outcome; a conflict is an error of that document alone."""
    result = documents_pb2.WriteResult(id=outcome.id, version=outcome.version, changed=outcome.changed)
    if outcome.conflict_version is not None:
        conflict = VersionConflict(
            f"document {outcome.id!r} is at version {outcome.conflict_version}, which is not the expected one",
            field="expected_version",
            value=str(outcome.conflict_version),
        )
        result.error.CopyFrom(conflict.detail())
    return result


class CoordinatorService(coordinator_pb2_grpc.CoordinatorServiceServicer):
    """Thin: the parts of the coordinator decide."""

    def __init__(self, coordinator: Coordinator, default_shards: int) -> None:
        self._coordinator = coordinator
        self._default_shards = default_shards

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server."""
        coordinator_pb2_grpc.add_CoordinatorServiceServicer_to_server(self, server)

    async def Write(
        self, request: coordinator_pb2.WriteRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.WriteResponse:
        timeout_s = _remaining_s(context)
        batch = batch_of(request)
        # The batch has copies of its texts and vectors.
        del request
        outcome = await self._answer(context, lambda parts: parts.writes.write(batch, timeout_s))
        return coordinator_pb2.WriteResponse(results=[result_of(one) for one in outcome.results], token=str(outcome.token))

    async def CreateCollection(
        self, request: coordinator_pb2.CreateCollectionRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.CreateCollectionResponse:
        def create(parts: CoordinatorParts) -> Awaitable[None]:
            return parts.collections.create(request.name, settings_of(request.settings, self._default_shards))

        await self._answer(context, create)
        return coordinator_pb2.CreateCollectionResponse()

    async def DropCollection(
        self, request: coordinator_pb2.DropCollectionRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.DropCollectionResponse:
        documents = await self._answer(context, lambda parts: parts.collections.drop(request.name))
        return coordinator_pb2.DropCollectionResponse(documents=documents)

    async def RetryFailed(
        self, request: coordinator_pb2.RetryFailedRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.RetryFailedResponse:
        retried = await self._answer(
            context, lambda parts: parts.collections.retry_failed(request.collection, list(request.ids))
        )
        return coordinator_pb2.RetryFailedResponse(retried=retried)

    async def RetainModel(
        self, request: coordinator_pb2.RetainModelRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.RetainModelResponse:
        await self._answer(context, lambda parts: parts.pools.retain(request.model))
        return coordinator_pb2.RetainModelResponse()

    async def CreateKey(
        self, request: coordinator_pb2.CreateKeyRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.CreateKeyResponse:
        asked = request.request
        lifetime_ms = asked.lifetime_ms if asked.HasField("lifetime_ms") else None
        key, text = await self._answer(
            context,
            lambda parts: parts.keys.create(asked.name, AccessLevel(asked.role), tuple(asked.collections), lifetime_ms),
        )
        return coordinator_pb2.CreateKeyResponse(
            response=keys_pb2.CreateKeyResponse(key=key_message(key, wall_clock_ms()), text=text)
        )

    async def RevokeKey(
        self, request: coordinator_pb2.RevokeKeyRequest, context: Context[Any, Any]
    ) -> coordinator_pb2.RevokeKeyResponse:
        revoked = await self._answer(context, lambda parts: parts.keys.revoke(request.id))
        return coordinator_pb2.RevokeKeyResponse(key=key_message(revoked, wall_clock_ms()))

    async def WatchRouting(
        self, request: coordinator_pb2.WatchRoutingRequest, context: Context[Any, Any]
    ) -> AsyncIterator[coordinator_pb2.WatchRoutingResponse]:
        async for message in self._coordinator.board.watch():
            # The board is empty until the lease is held.
            if message.epoch:
                yield message

    async def _answer(self, context: Context[Any, Any], work: Callable[[CoordinatorParts], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(_remaining_s(context)):
                return await work(self._coordinator.parts)
        except ClusterError as error:
            await refuse(context, error)
        except LedgerError as error:
            await refuse(context, from_ledger(error))
        except TimeoutError:
            await refuse(context, DeadlineExceeded("the deadline passed before the coordinator had finished"))


def _known(field: str, value: int, names: Mapping[Any, str]) -> str:
    if value not in names:
        allowed = ", ".join(dict.fromkeys(names.values()))
        raise InvalidRequest(f"{field} = {value}: must be one of {allowed}", field=field, value=str(value))
    return names[value]


def _remaining_s(context: Context[Any, Any]) -> float:
    remaining = context.time_remaining()
    return DEFAULT_TIMEOUT_S if remaining is None else remaining
