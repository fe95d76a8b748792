"""Requests to encoder replicas, and the decoding of their replies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shoal.cluster.errors import InternalDefect
from shoal.cluster.gateway.backends.query_cache import EncodedText
from shoal.internal.v1 import encoder_pb2
from shoal.workers.encoding import EncodeOptions, Role, Truncation

_ENCODE_ROLES = {Role.DOCUMENT: encoder_pb2.ENCODE_ROLE_DOCUMENT, Role.QUERY: encoder_pb2.ENCODE_ROLE_QUERY}
_ENCODE_TRUNCATIONS = {
    Truncation.END: encoder_pb2.ENCODE_TRUNCATION_END,
    Truncation.START: encoder_pb2.ENCODE_TRUNCATION_START,
    Truncation.REFUSE: encoder_pb2.ENCODE_TRUNCATION_REFUSE,
}

Priority = encoder_pb2.EncodePriority.ValueType


def encode_request(
    texts: Sequence[str], options: EncodeOptions, fingerprint: str, priority: Priority
) -> encoder_pb2.EncodeRequest:
    """The request to an encoder."""
    request = encoder_pb2.EncodeRequest(
        texts=texts,
        role=_ENCODE_ROLES[options.role],
        fingerprint=fingerprint,
        priority=priority,
        dimensions=options.dimensions,
        truncation=_ENCODE_TRUNCATIONS[options.truncation],
    )
    if options.prompt is not None:
        request.prompt = options.prompt
    if options.normalize is not None:
        request.normalize = options.normalize
    return request


def check_reply(reply: encoder_pb2.EncodeResponse, texts: int) -> None:
    """Raises InternalDefect when the sizes in a reply do not match the number of texts."""
    if len(reply.tokens) != texts or len(reply.vectors) != 4 * texts * reply.dimension:
        raise InternalDefect("an encoder sent a reply whose sizes do not match the request")


class Times(NamedTuple):
    """Where an encoder's time went, in microseconds."""

    tokenize_us: int = 0
    queue_us: int = 0
    infer_us: int = 0

    @classmethod
    def of(cls, reply: encoder_pb2.EncodeResponse) -> Times:
        """The times in a reply."""
        return cls(reply.tokenize_us, reply.queue_us, reply.infer_us)


NO_TIME = Times()


class QueryAnswer(NamedTuple):
    """The result for one query text."""

    encoded: EncodedText | None
    """None if there is an error."""
    dimension: int
    error: str = ""
    times: Times = NO_TIME


def query_answers(reply: encoder_pb2.EncodeResponse) -> list[QueryAnswer]:
    """One answer for each text of the call."""
    width, vectors, times = 4 * reply.dimension, reply.vectors, Times.of(reply)
    truncated, errors = set(reply.truncated), {one.position: one.error for one in reply.errors}
    answers: list[QueryAnswer] = []
    for position, tokens in enumerate(reply.tokens):
        encoded = None
        if position not in errors:
            encoded = EncodedText(vectors[position * width : (position + 1) * width], tokens, position in truncated)
        answers.append(QueryAnswer(encoded, reply.dimension, errors.get(position, ""), times))
    return answers
