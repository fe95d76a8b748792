"""CollectionService over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.gateway.access.guard import visible_collections
from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline
from shoal.cluster.gateway.grpc.interceptors import caller_of_call
from shoal.cluster.gateway.paths.collections import CollectionPath
from shoal.v1 import collections_pb2, collections_pb2_grpc


class CollectionService(collections_pb2_grpc.CollectionServiceServicer):
    """Creating, showing and dropping collections."""

    def __init__(self, path: CollectionPath, default_deadline_s: float) -> None:
        self._path = path
        self._default_deadline_s = default_deadline_s

    async def CreateCollection(
        self, request: collections_pb2.CreateCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.CreateCollectionResponse:
        return await self._path.create(request, caller_deadline(context, self._default_deadline_s))

    async def GetCollection(
        self, request: collections_pb2.GetCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.GetCollectionResponse:
        return await self._path.get(request)

    async def ListCollections(
        self, request: collections_pb2.ListCollectionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.ListCollectionsResponse:
        return visible_collections(await self._path.list_all(), caller_of_call())

    async def DropCollection(
        self, request: collections_pb2.DropCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.DropCollectionResponse:
        return await self._path.drop(request, caller_deadline(context, self._default_deadline_s))
