"""KeyService over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio

from shoal.cluster.gateway.access.keys import KeyPath
from shoal.cluster.gateway.grpc.caller_deadlines import caller_deadline
from shoal.v1 import keys_pb2, keys_pb2_grpc


class KeyService(keys_pb2_grpc.KeyServiceServicer):
    """Creating, listing and revoking API keys."""

    def __init__(self, path: KeyPath, default_deadline_s: float) -> None:
        self._path = path
        self._default_deadline_s = default_deadline_s

    async def CreateKey(
        self, request: keys_pb2.CreateKeyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> keys_pb2.CreateKeyResponse:
        return await self._path.create(request, caller_deadline(context, self._default_deadline_s))

    async def ListKeys(
        self, request: keys_pb2.ListKeysRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> keys_pb2.ListKeysResponse:
        return await self._path.list_all()

    async def RevokeKey(
        self, request: keys_pb2.RevokeKeyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> keys_pb2.RevokeKeyResponse:
        return await self._path.revoke(request, caller_deadline(context, self._default_deadline_s))
