"""The encoder's internal gRPC service: maps messages and errors to the engine's and back. The engine does the work."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import math
import os
from typing import Any, NoReturn

import grpc
import grpc.aio
import numpy as np

from shoal.internal.v1 import encoder_pb2, encoder_pb2_grpc
from shoal.workers.encoding.engine.engine import Description, EncoderEngine, EngineState, EngineUnavailable
from shoal.workers.encoding.engine.pending_request import Answer
from shoal.workers.encoding.engine.scheduler import Priority, QueueFull
from shoal.workers.encoding.engine.work_queue import DeadlineExpired, EngineLoad
from shoal.workers.encoding.model import EncodeOptions, ModelError, Role, Truncation, may_pass
from shoal.workers.runtime import INTERNAL_MESSAGE_BYTES

Context = grpc.aio.ServicerContext[Any, Any]

MAX_PROMPT_CHARACTERS = 4096

_ROLES = {encoder_pb2.ENCODE_ROLE_DOCUMENT: Role.DOCUMENT, encoder_pb2.ENCODE_ROLE_QUERY: Role.QUERY}
_PRIORITIES = {
    encoder_pb2.ENCODE_PRIORITY_UNSPECIFIED: None,
    encoder_pb2.ENCODE_PRIORITY_QUERY: Priority.QUERY,
    encoder_pb2.ENCODE_PRIORITY_LIVE: Priority.LIVE,
    encoder_pb2.ENCODE_PRIORITY_BACKFILL: Priority.BACKFILL,
}
_TRUNCATIONS = {
    encoder_pb2.ENCODE_TRUNCATION_UNSPECIFIED: Truncation.END,
    encoder_pb2.ENCODE_TRUNCATION_END: Truncation.END,
    encoder_pb2.ENCODE_TRUNCATION_START: Truncation.START,
    encoder_pb2.ENCODE_TRUNCATION_REFUSE: Truncation.REFUSE,
}
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
            error_may_pass=description.error_may_pass,
            pid=os.getpid(),
            progress=description.progress,
            device=description.device,
            load=_load(self._engine.load()),
        )

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Context) -> encoder_pb2.EncodeResponse:
        description = self._engine.describe()
        if problem := _problem(request, description):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        if description.fingerprint and request.fingerprint not in ("", description.fingerprint):
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"fingerprint is {request.fingerprint!r}, model {description.model!r} has {description.fingerprint!r}",
            )
        remaining = context.time_remaining()
        try:
            future = self._engine.submit(
                request.texts,
                _options(request),
                _PRIORITIES[request.priority],
                timeout_s=math.inf if remaining is None else remaining,
            )
            # When the caller cancels, or its deadline passes, this await is cancelled, and the work with it.
            return _response(await asyncio.wrap_future(future))
        except Exception as error:
            await _abort(context, error)


def _problem(request: encoder_pb2.EncodeRequest, description: Description) -> str:
    """What is wrong with a request, in one line with the field, the value and the limit; empty if it is valid."""
    if request.role not in _ROLES:
        return f"role must be ENCODE_ROLE_DOCUMENT or ENCODE_ROLE_QUERY, not {request.role}"
    if request.priority not in _PRIORITIES:
        return f"priority must be a value of EncodePriority, 0 to {max(_PRIORITIES)}, not {request.priority}"
    if request.truncation not in _TRUNCATIONS:
        return f"truncation must be a value of EncodeTruncation, 0 to {max(_TRUNCATIONS)}, not {request.truncation}"
    if len(request.prompt) > MAX_PROMPT_CHARACTERS:
        return f"prompt has {len(request.prompt)} characters, the limit is {MAX_PROMPT_CHARACTERS}"
    if not request.texts:
        return "texts is empty, at least 1 is needed"
    if request.dimensions < 0:
        return f"dimensions must be at least 0, not {request.dimensions}"
    if description.state is not EngineState.READY:
        return ""
    if request.dimensions > description.dimension:
        return f"dimensions is {request.dimensions}, model {description.model!r} has {description.dimension}"
    most = INTERNAL_MESSAGE_BYTES // 2 // (4 * description.dimension)
    if len(request.texts) > most:
        return f"texts has {len(request.texts)} entries, the limit is {most}"
    return ""


def _options(request: encoder_pb2.EncodeRequest) -> EncodeOptions:
    return EncodeOptions(
        role=_ROLES[request.role],
        prompt=request.prompt if request.HasField("prompt") else None,
        dimensions=request.dimensions,
        normalize=request.normalize if request.HasField("normalize") else None,
        truncation=_TRUNCATIONS[request.truncation],
    )


def _response(answer: Answer) -> encoder_pb2.EncodeResponse:
    encoded = answer.encoded
    return encoder_pb2.EncodeResponse(
        fingerprint=answer.fingerprint,
        dimension=encoded.vectors.shape[1],
        vectors=encoded.vectors.astype(np.dtype("<f4"), copy=False).tobytes(),
        tokens=encoded.tokens,
        truncated=[position for position, cut in enumerate(encoded.truncated) if cut],
        errors=[
            encoder_pb2.EncodeError(position=position, error=error, may_pass=may_pass(error))
            for position, error in enumerate(encoded.errors)
            if error
        ],
        tokenize_us=round(answer.tokenize_s * 1e6),
        queue_us=round(answer.queue_s * 1e6),
        infer_us=round(answer.infer_s * 1e6),
    )


def _load(load: EngineLoad) -> encoder_pb2.EncoderLoad:
    return encoder_pb2.EncoderLoad(
        waiting_texts=load.waiting_texts,
        waiting_tokens=load.waiting_tokens,
        oldest_ms=round(load.oldest_s * 1e3),
        texts=load.texts,
        tokens=load.tokens,
        batches=load.batches,
        failed_texts=load.failed_texts,
        busy_ms=round(load.busy_s * 1e3),
        inference_threads=load.inference_threads,
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
