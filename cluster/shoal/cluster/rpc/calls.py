"""Calls inside the cluster, where every failure is an AioRpcError."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

Request = TypeVar("Request")
Response = TypeVar("Response", bound=Message)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    metadata: tuple[tuple[str, str], ...],
    timeout_s: float,
) -> Response:
    """The response; raises AioRpcError. Cancelling the caller cancels the call."""
    try:
        return await method(request, metadata=metadata, timeout=timeout_s)
    except asyncio.CancelledError:
        # Closing a channel cancels its calls, which looks the same as a cancelled caller.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _closed() from None
    except grpc.aio.UsageError as error:
        raise _closed() from error


def _closed() -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details="the connection was closed")
