"""Calls to internal services, with the cluster's secret, a deadline and the cluster's own errors."""

from __future__ import annotations

from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from shoal.cluster.errors import Unavailable, from_rpc
from shoal.cluster.rpc import calls
from shoal.cluster.rpc.deadlines import Deadline

Request = TypeVar("Request")
Response = TypeVar("Response", bound=Message)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    deadline: Deadline,
    metadata: tuple[tuple[str, str], ...],
    peer: str,
    absent: frozenset[grpc.StatusCode] = frozenset(),
) -> Response:
    """Makes one call and returns the response; a gRPC failure is raised as the matching ClusterError.

    `peer` names the callee in messages. A status in `absent` means that the route is outdated, and raises Unavailable.
    Cancelling the caller cancels the call.
    """
    try:
        return await calls.call(method, request, metadata, deadline.timeout_s)
    except grpc.aio.AioRpcError as error:
        if error.code() in absent:
            raise Unavailable(f"{peer}: {error.details()}") from error
        raise from_rpc(error, peer) from error
