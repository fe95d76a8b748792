"""SearchService over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline
from shoal.cluster.gateway.grpc.interceptors import room_of_call
from shoal.cluster.gateway.paths.search import SearchPath
from shoal.v1 import search_pb2, search_pb2_grpc


class SearchService(search_pb2_grpc.SearchServiceServicer):
    """Nearest documents to a text or a vector."""

    def __init__(self, path: SearchPath, default_deadline_s: float) -> None:
        self._path = path
        self._default_deadline_s = default_deadline_s

    async def Search(
        self, request: search_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> search_pb2.SearchResponse:
        return await self._path.search(request, caller_deadline(context, self._default_deadline_s), room_of_call())
