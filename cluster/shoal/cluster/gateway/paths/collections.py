"""Creating, showing and dropping collections."""

from __future__ import annotations

from collections.abc import Callable

from shoal.cluster.gateway.backends.coordinator_link import CoordinatorLink
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.routing_view import RoutingView
from shoal.cluster.gateway.paths.collection_messages import collection_message
from shoal.cluster.gateway.paths.validation import check_collection_name, check_settings
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.internal.v1 import coordinator_pb2
from shoal.v1 import collections_pb2


class CollectionViews:
    """Collections as callers see them: counts from the ledger, shards from the routing table."""

    def __init__(self, reads: LedgerReads, view: RoutingView, now_ms: Callable[[], int]) -> None:
        self._reads = reads
        self._view = view
        self._now_ms = now_ms

    async def show(self, name: str) -> collections_pb2.Collection:
        """One collection; raises CollectionNotFound."""
        return collection_message(await self._reads.cut(name), self._view.table, self._now_ms())

    async def show_all(self) -> list[collections_pb2.Collection]:
        """All collections, by name."""
        now_ms = self._now_ms()
        return [collection_message(cut, self._view.table, now_ms) for cut in await self._reads.cuts()]


class CollectionPath:
    """Reads come from the ledger; changes go to the coordinator. All methods raise ClusterError or LedgerError."""

    def __init__(self, views: CollectionViews, link: CoordinatorLink, limits: RequestLimits) -> None:
        self._views = views
        self._link = link
        self._limits = limits

    async def create(
        self, request: collections_pb2.CreateCollectionRequest, deadline: Deadline
    ) -> collections_pb2.CreateCollectionResponse:
        """Creates a collection; returns when it accepts writes."""
        name, settings = request.name, request.settings
        check_collection_name(name, self._limits, "name")
        check_settings(settings, self._limits)
        await self._link.create_collection(coordinator_pb2.CreateCollectionRequest(name=name, settings=settings), deadline)
        return collections_pb2.CreateCollectionResponse(collection=await self._views.show(name))

    async def get(self, request: collections_pb2.GetCollectionRequest) -> collections_pb2.GetCollectionResponse:
        """One collection."""
        check_collection_name(request.name, self._limits, "name")
        return collections_pb2.GetCollectionResponse(collection=await self._views.show(request.name))

    async def list_all(self) -> collections_pb2.ListCollectionsResponse:
        """All collections, by name."""
        return collections_pb2.ListCollectionsResponse(collections=await self._views.show_all())

    async def drop(
        self, request: collections_pb2.DropCollectionRequest, deadline: Deadline
    ) -> collections_pb2.DropCollectionResponse:
        """Drops a collection; the reply says how many documents it had."""
        check_collection_name(request.name, self._limits, "name")
        dropped = await self._link.drop_collection(coordinator_pb2.DropCollectionRequest(name=request.name), deadline)
        return collections_pb2.DropCollectionResponse(documents=dropped)
