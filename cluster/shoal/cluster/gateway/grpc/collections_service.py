"""CollectionService: translates its calls for the path of collections."""

from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline
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
        deadline = caller_deadline(context, self._default_deadline_s)
        created = await self._path.create(request.name, request.settings, deadline)
        return collections_pb2.CreateCollectionResponse(collection=created)

    async def GetCollection(
        self, request: collections_pb2.GetCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.GetCollectionResponse:
        return collections_pb2.GetCollectionResponse(collection=await self._path.get(request.name))

    async def ListCollections(
        self, request: collections_pb2.ListCollectionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.ListCollectionsResponse:
        return collections_pb2.ListCollectionsResponse(collections=await self._path.list_all())

    async def DropCollection(
        self, request: collections_pb2.DropCollectionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> collections_pb2.DropCollectionResponse:
        deadline = caller_deadline(context, self._default_deadline_s)
        return collections_pb2.DropCollectionResponse(documents=await self._path.drop(request.name, deadline))
