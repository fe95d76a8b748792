"""CollectionService: creating, showing and dropping collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio

from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.deadlines import Deadline
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.profiles import collection_message
from shoal.cluster.gateway.paths.validation import check_collection_name, check_settings
from shoal.cluster.ledger.errors import CollectionNotFound
from shoal.cluster.limits import Limits
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import collections_pb2, collections_pb2_grpc


class CollectionShelf:
    """Collections as they are shown: counts from the ledger, shards from the routing table."""

    def __init__(self, reads: LedgerReads, view: RoutingView, now_ms: Callable[[], int]) -> None:
        self._reads = reads
        self._view = view
        self._now_ms = now_ms

    async def show(self, name: str) -> collections_pb2.Collection:
        """One collection; raises CollectionNotFound."""
        return collection_message(await self._reads.cut(name), self._view.table, self._now_ms())

    async def show_all(self) -> list[collections_pb2.Collection]:
        """All collections, by name."""
        shown: list[collections_pb2.Collection] = []
        for record in await self._reads.collections():
            try:
                shown.append(await self.show(record.name))
            except CollectionNotFound:
                continue  # Dropped since the list was read.
        return shown


class CollectionService(collections_pb2_grpc.CollectionServiceServicer):
    """Reads come from the ledger; changes go to the coordinator."""

    def __init__(self, shelf: CollectionShelf, link: CoordinatorLink, limits: Limits, default_deadline_s: float) -> None:
        self._shelf = shelf
        self._link = link
        self._limits = limits
        self._default_deadline_s = default_deadline_s

    async def CreateCollection(
        self, request: collections_pb2.CreateCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.CreateCollectionResponse:
        deadline = Deadline.of(context, self._default_deadline_s)
        check_collection_name(request.name, self._limits, "name")
        check_settings(request.settings, self._limits)
        await self._link.create_collection(
            coordinator_pb2.CreateCollectionRequest(name=request.name, settings=request.settings), deadline
        )
        return collections_pb2.CreateCollectionResponse(collection=await self._shelf.show(request.name))

    async def GetCollection(
        self, request: collections_pb2.GetCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.GetCollectionResponse:
        check_collection_name(request.name, self._limits, "name")
        return collections_pb2.GetCollectionResponse(collection=await self._shelf.show(request.name))

    async def ListCollections(
        self, request: collections_pb2.ListCollectionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.ListCollectionsResponse:
        return collections_pb2.ListCollectionsResponse(collections=await self._shelf.show_all())

    async def DropCollection(
        self, request: collections_pb2.DropCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.DropCollectionResponse:
        deadline = Deadline.of(context, self._default_deadline_s)
        check_collection_name(request.name, self._limits, "name")
        documents = await self._link.drop_collection(coordinator_pb2.DropCollectionRequest(name=request.name), deadline)
        return collections_pb2.DropCollectionResponse(documents=documents)
