"""StatusService over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.gateway.access.guard import visible_status
from shoal.cluster.gateway.grpc.interceptors import caller_of_call
from shoal.cluster.gateway.paths.status import StatusPath
from shoal.v1 import status_pb2, status_pb2_grpc


class StatusService(status_pb2_grpc.StatusServiceServicer):
    """The server description, and the state of the cluster."""

    def __init__(self, path: StatusPath, address: str) -> None:
        """`address` is where this service is reached."""
        self._path = path
        self._address = address

    async def Describe(
        self, request: status_pb2.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> status_pb2.DescribeResponse:
        return self._path.describe()

    async def Status(
        self, request: status_pb2.StatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> status_pb2.StatusResponse:
        return visible_status(await self._path.status(self._address), caller_of_call())
