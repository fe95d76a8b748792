"""The coordinator's calls to worker processes, on one set of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shoal.cluster.rpc.calls import call
from shoal.cluster.rpc.channels import Channels
from shoal.internal.v1 import encoder_pb2_grpc, index_pb2_grpc


@dataclass(frozen=True, slots=True)
class WorkerCalls:
    """Everything in the coordinator that calls an index worker or an encoder replica shares one."""

    channels: Channels

    def index(self, address: str) -> index_pb2_grpc.IndexServiceAsyncStub:
        """The index worker at an address."""
        return index_pb2_grpc.IndexServiceStub(self.channels.get(address))

    def encoder(self, address: str) -> encoder_pb2_grpc.EncoderServiceAsyncStub:
        """The encoder replica at an address."""
        return encoder_pb2_grpc.EncoderServiceStub(self.channels.get(address))

    async def call(self, method: Any, request: Any, timeout_s: float) -> Any:
        """Calls a method of a stub; raises AioRpcError."""
        return await call(method, request, self.channels.metadata, timeout_s)
