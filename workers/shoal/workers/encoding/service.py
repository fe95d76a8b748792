"""The encoder's internal gRPC service: messages in and out, statuses for what goes wrong. The engine does the work."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import math
import os
from typing import Any, NoReturn

import grpc
import grpc.aio
import numpy as np

from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc
from shoal.workers.encoding.engine import Answer, DeadlineExpired, EncoderEngine, EngineState, EngineUnavailable
from shoal.workers.encoding.model import ModelError, Role
from shoal.workers.encoding.request_queue import QueueFull
from shoal.workers.serving import INTERNAL_MESSAGE_BYTES

Context = grpc.aio.ServicerContext[Any, Any]

_ROLES = {encoder_pb2.ENCODE_ROLE_DOCUMENT: Role.DOCUMENT, encoder_pb2.ENCODE_ROLE_QUERY: Role.QUERY}
_STATES = {
    EngineState.LOADING: encoder_pb2.ENCODER_STATE_LOADING,
    EngineState.READY: encoder_pb2.ENCODER_STATE_READY,
    EngineState.FAILED: encoder_pb2.ENCODER_STATE_FAILED,
}


class EncoderService(encoder_pb2_grpc.EncoderServiceServicer):
    """Serves one engine. Its methods run on an event loop and never block it."""

    def __init__(self, engine: EncoderEngine) -> None:
        self._engine = engine

    def register(self, server: grpc.aio.Server) -> None:
        """Adds this service to a server."""
        encoder_pb2_grpc.add_EncoderServiceServicer_to_server(self, server)

    async def DescribeModel(
        self, request: encoder_pb2.DescribeModelRequest, context: Context
    ) -> encoder_pb2.DescribeModelResponse:
        description = self._engine.describe()
        return encoder_pb2.DescribeModelResponse(
            state=_STATES[description.state],
            model=description.model,
            fingerprint=description.fingerprint,
            dimension=description.dimension,
            max_tokens=description.max_tokens,
            error=description.error,
            pid=os.getpid(),
        )

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Context) -> encoder_pb2.EncodeResponse:
        await self._check(request, context)
        remaining = context.time_remaining()
        try:
            future = self._engine.submit(
                request.texts, _ROLES[request.role], timeout_s=math.inf if remaining is None else remaining
            )
            # When the caller cancels, or its deadline passes, this await is cancelled and takes the work along.
            return _response(await asyncio.wrap_future(future))
        except Exception as error:
            await _abort(context, error)

    async def _check(self, request: encoder_pb2.EncodeRequest, context: Context) -> None:
        if request.role not in _ROLES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"role is {request.role}, allowed are ENCODE_ROLE_DOCUMENT and ENCODE_ROLE_QUERY",
            )
        count = len(request.texts)
        if count == 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "texts is empty, the least is 1")
        description = self._engine.describe()
        if description.state is not EngineState.READY:
            return
        if request.fingerprint and request.fingerprint != description.fingerprint:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"fingerprint is {request.fingerprint!r}, model {description.model!r} has {description.fingerprint!r}",
            )
        most = INTERNAL_MESSAGE_BYTES // 2 // (4 * description.dimension)
        if count > most:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"texts has {count} entries, the limit is {most}")


def _response(answer: Answer) -> encoder_pb2.EncodeResponse:
    encoded = answer.encoded
    return encoder_pb2.EncodeResponse(
        fingerprint=answer.fingerprint,
        dimension=encoded.vectors.shape[1],
        vectors=encoded.vectors.astype(np.dtype("<f4"), copy=False).tobytes(),
        tokens=encoded.tokens,
        truncated=[position for position, cut in enumerate(encoded.truncated) if cut],
        errors=[
            encoder_pb2.EncodeError(position=position, error=error)
            for position, error in enumerate(encoded.errors)
            if error
        ],
        queue_us=round(answer.queue_s * 1e6),
        infer_us=round(answer.infer_s * 1e6),
    )


async def _abort(context: Context, error: Exception) -> NoReturn:
    match error:
        case EngineUnavailable():
            code = grpc.StatusCode.UNAVAILABLE
        case ModelError():
            code = grpc.StatusCode.FAILED_PRECONDITION
        case QueueFull():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
        case DeadlineExpired():
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        case _:
            raise error
    await context.abort(code, str(error))
