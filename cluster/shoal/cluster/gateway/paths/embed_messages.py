"""Validates the options of Embed requests and builds their replies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from shoal.cluster.errors import ClusterError, InternalDefect, InvalidRequest, shortened
from shoal.cluster.gateway.backends.encoder_messages import NO_TIME, QueryAnswer, Times
from shoal.cluster.gateway.paths.validation import out_of_limit
from shoal.cluster.limits import RequestLimits
from shoal.internal.v1 import encoder_pb2
from shoal.v1 import embedding_pb2
from shoal.workers.encoding import EncodeOptions, Role, Truncation

_ROLES = {
    embedding_pb2.ROLE_UNSPECIFIED: Role.DOCUMENT,
    embedding_pb2.ROLE_DOCUMENT: Role.DOCUMENT,
    embedding_pb2.ROLE_QUERY: Role.QUERY,
}
_TRUNCATIONS = {
    embedding_pb2.TRUNCATION_UNSPECIFIED: Truncation.END,
    embedding_pb2.TRUNCATION_END: Truncation.END,
    embedding_pb2.TRUNCATION_START: Truncation.START,
    embedding_pb2.TRUNCATION_REFUSE: Truncation.REFUSE,
}
_VECTOR_TYPES = {
    embedding_pb2.VECTOR_TYPE_UNSPECIFIED: embedding_pb2.VECTOR_TYPE_FLOAT32,
    embedding_pb2.VECTOR_TYPE_FLOAT32: embedding_pb2.VECTOR_TYPE_FLOAT32,
    embedding_pb2.VECTOR_TYPE_FLOAT16: embedding_pb2.VECTOR_TYPE_FLOAT16,
}


def options_of(request: embedding_pb2.EmbedRequest, limits: RequestLimits) -> EncodeOptions:
    """The encoding options of a request; raises InvalidRequest."""
    for name, value, known, kind in (
        ("role", request.role, _ROLES, embedding_pb2.Role),
        ("truncation", request.truncation, _TRUNCATIONS, embedding_pb2.Truncation),
        ("vector_type", request.vector_type, _VECTOR_TYPES, embedding_pb2.VectorType),
    ):
        if value not in known:
            raise InvalidRequest(f"{name}: {value} is not one of {', '.join(kind.keys())}", field=name, value=str(value))
    check_dimensions(request.dimensions, limits.dimension, "")
    prompt = request.prompt if request.HasField("prompt") else None
    if len(prompt or "") > limits.prompt_characters:
        raise out_of_limit("prompt", len(prompt or ""), limits.prompt_characters, "characters")
    return EncodeOptions(
        role=_ROLES[request.role],
        prompt=prompt,
        dimensions=request.dimensions,
        normalize=request.normalize if request.HasField("normalize") else None,
        truncation=_TRUNCATIONS[request.truncation],
    )


def check_dimensions(dimensions: int, limit: int, model: str) -> None:
    """Raises InvalidRequest unless `dimensions` is from 0 (keep all) to `limit`, the dimension of `model` if named."""
    if not 0 <= dimensions <= limit:
        of = f", the dimension of model {model!r}" if model else ""
        raise InvalidRequest(
            f"dimensions: {dimensions} is not from 0 to {limit}{of}", field="dimensions", value=str(dimensions), limit=limit
        )


def vector_bytes(vector_type: embedding_pb2.VectorType.ValueType, texts: int, dimension: int) -> int:
    """The size of the vectors in a reply."""
    return texts * dimension * (2 if vector_type == embedding_pb2.VECTOR_TYPE_FLOAT16 else 4)


@dataclass(slots=True)
class Encoding:
    """The results for the texts of a request, in order."""

    fingerprint: str
    dimension: int = 0
    vectors: list[bytes] = field(default_factory=list)
    """Packed little-endian float32; concatenated, one row per text."""
    tokens: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    """Positions, ascending."""
    errors: dict[int, ClusterError] = field(default_factory=dict)
    """By position."""
    times: Times = NO_TIME

    @classmethod
    def of_queries(cls, fingerprint: str, answers: Sequence[QueryAnswer]) -> Encoding:
        """Combines the answers to the queries of a request."""
        encoding = cls(fingerprint, dimension=max((answer.dimension for answer in answers), default=0))
        for position, answer in enumerate(answers):
            if answer.encoded is None:
                encoding.add_error(position, answer.error)
                encoding.vectors.append(bytes(4 * encoding.dimension))
                encoding.tokens.append(0)
            else:
                encoding.vectors.append(answer.encoded.vector)
                encoding.tokens.append(answer.encoded.tokens)
                if answer.encoded.truncated:
                    encoding.truncated.append(position)
            encoding.note_times(answer.times)
        return encoding

    def append(self, reply: encoder_pb2.EncodeResponse) -> None:
        """Appends the reply for the next texts; raises InternalDefect if it comes from another model."""
        if reply.fingerprint != self.fingerprint or (self.vectors and reply.dimension != self.dimension):
            raise InternalDefect("an encoder replied with a different model than requested")
        start = len(self.tokens)
        self.dimension = reply.dimension
        self.vectors.append(reply.vectors)
        self.tokens += reply.tokens
        self.truncated += [start + position for position in reply.truncated]
        for one in reply.errors:
            self.add_error(start + one.position, one.error)
        self.note_times(Times.of(reply))

    def add_error(self, position: int, reason: str) -> None:
        """Records why a text has no vector."""
        self.errors[position] = InvalidRequest(f"texts[{position}]: {reason}", field=f"texts[{position}]")

    def note_times(self, times: Times) -> None:
        """Keeps the longest time of each step, as parts are encoded in parallel."""
        self.times = Times(*map(max, self.times, times))


def embed_response(
    encoding: Encoding, vector_type: embedding_pb2.VectorType.ValueType, total_us: int
) -> embedding_pb2.EmbedResponse:
    """Builds the reply. A text whose vector does not fit float16 gets an error."""
    vectors = encoding.vectors[0] if len(encoding.vectors) == 1 else b"".join(encoding.vectors)
    sent = _VECTOR_TYPES[vector_type]
    if sent == embedding_pb2.VECTOR_TYPE_FLOAT16:
        vectors = _halved(vectors, encoding)
    response = embedding_pb2.EmbedResponse(
        fingerprint=encoding.fingerprint,
        dimension=encoding.dimension,
        vectors=vectors,
        vector_type=sent,
        tokens=encoding.tokens,
        truncated=encoding.truncated,
        timing=embedding_pb2.EmbedTiming(
            total_us=total_us,
            tokenize_us=encoding.times.tokenize_us,
            queue_us=encoding.times.queue_us,
            infer_us=encoding.times.infer_us,
        ),
    )
    for position in sorted(encoding.errors):
        response.errors.add(position=position, error=encoding.errors[position].detail())
    return response


def _halved(vectors: bytes, encoding: Encoding) -> bytes:
    wide = np.frombuffer(vectors, dtype="<f4").reshape(len(encoding.tokens), encoding.dimension)
    with np.errstate(over="ignore"):
        halves = wide.astype("<f2")
    for position in np.flatnonzero(~np.isfinite(halves).all(axis=1)).tolist():
        largest = float(np.abs(wide[position]).max())
        encoding.errors[position] = InvalidRequest(
            f"texts[{position}]: its vector has a value of {largest:g}, too large for float16; request float32",
            field="vector_type",
            value=shortened(f"{largest:g}"),
            limit=65504,
        )
        encoding.tokens[position] = 0
        halves[position] = 0
    encoding.truncated = [position for position in encoding.truncated if position not in encoding.errors]
    return halves.tobytes()
