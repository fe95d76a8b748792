"""What the client raises: one class for each reason that the server may give.

The results of writes are here too: they hold the errors of their documents, and an error holds the results so far.

ShoalError
├── InvalidArgument
│   ├── DimensionMismatch
│   ├── InvalidModel
│   └── MessageTooLarge
├── NotFound
│   ├── CollectionNotFound
│   ├── DocumentNotFound
│   └── KeyNotFound
├── CollectionExists
├── ModelNotServed
├── VersionConflict
├── Overloaded
├── Unavailable
│   └── CoverageTooLow
├── DeadlineExceeded
├── Cancelled
├── Unauthenticated
├── PermissionDenied
├── Unsupported
├── NotEmbedded
└── InternalError
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from shoal.v1 import errors_pb2

DETAIL_KEY = "shoal-error-bin"


class ShoalError(Exception):
    """Base class of the client's errors. The message is one line."""

    def __init__(
        self, message: str, *, field: str = "", value: str = "", limit: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        """The invalid field, such as "documents[3].text"; empty if no single field is invalid."""
        self.value = value
        """The invalid value, shortened."""
        self.limit = limit
        """The limit that was exceeded, if any."""
        self.retry_after_s = retry_after_s
        """Seconds to wait before a retry, if the server gave them."""
        self.token: Token | None = None
        """The token of the write that refused a document; `token.results` has the results of all its documents."""
        self.upload: UpsertSummary | None = None
        """What an upload had done when this error ended it; None for errors of other calls."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of a write for one document."""

    id: str
    version: int
    changed: bool
    """False if the document was already the same, or if a deleted one did not exist."""
    error: ShoalError | None = None
    """Why this document was refused; None if it was written."""


class Token(str):
    """Returned by a write: a search with this token sees the write, whatever else is pending. `results` has one entry per
    document, in order."""

    __slots__ = ("results",)
    results: tuple[WriteResult, ...]

    def __new__(cls, value: str, results: tuple[WriteResult, ...] = ()) -> Token:
        token = super().__new__(cls, value)
        token.results = results
        return token

    def __reduce__(self) -> tuple[type[Token], tuple[str, tuple[WriteResult, ...]]]:
        return Token, (str(self), self.results)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document of an upload that was refused, by the server or by the client before it was sent."""

    position: int
    """Index in the iterable, from 0."""
    id: str
    error: ShoalError


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A document that could not be embedded. It is retried when it changes, or by `retry_failed`."""

    id: str
    version: int
    reason: str
    attempts: int
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class UpsertSummary:
    """The result of an upload."""

    documents: int
    changed: int
    """Documents that were new or different. A document that a lost attempt had already written is not counted."""
    refused: int
    refusals: tuple[Refusal, ...]
    """The first thousand refusals."""
    token: Token | None
    """Covers the whole upload; None if nothing was written."""
    acknowledged: int = 0
    """Documents answered by the server: written or refused."""
    first_unacknowledged: str | None = None
    """Id of the first document that was sent, or about to be, and not answered; None if there is none."""
    failed: int = 0
    """Documents that were written and cannot be embedded; only known after an upload with `wait`."""
    failures: tuple[FailedDocument, ...] = ()
    """The first of these, with the reasons; at most as many as the server lists."""


class InvalidArgument(ShoalError):
    """A field is malformed or exceeds its limits."""


class DimensionMismatch(InvalidArgument):
    """A vector's length differs from the collection's dimension."""


class InvalidModel(InvalidArgument):
    """A model cannot be found, read or run."""


class MessageTooLarge(InvalidArgument):
    """A message is larger than the server accepts; `upsert_many` cuts uploads to size."""


class NotFound(ShoalError):
    """The object of the call does not exist."""


class CollectionNotFound(NotFound):
    """No collection has this name."""


class DocumentNotFound(NotFound):
    """The collection has no document with this id."""


class KeyNotFound(NotFound):
    """No API key has this id."""


class CollectionExists(ShoalError):
    """The name is taken."""


class VersionConflict(ShoalError):
    """The document does not have the expected version."""


class Overloaded(ShoalError):
    """A queue or the memory is full; `retry_after_s` says how long to wait. Deletes are still accepted."""


class ModelNotServed(ShoalError):
    """No encoder can serve the model now: it cannot be loaded, its files have changed, or nothing is free for it."""


class Unavailable(ShoalError):
    """The server, or a part of it that the call needs, cannot be reached now."""


class CoverageTooLow(Unavailable):
    """Fewer documents can be reached than the search's `min_coverage` requires."""


class DeadlineExceeded(ShoalError):
    """The call's timeout passed before an answer arrived."""


class Cancelled(ShoalError):
    """The call was cancelled, by this client or by a server that is shutting down."""


class Unauthenticated(ShoalError):
    """The call had no valid credentials."""


class PermissionDenied(ShoalError):
    """The credentials do not allow this call."""


class Unsupported(ShoalError):
    """The server does not know this call: it is older than the client, or not Shoal."""


class NotEmbedded(ShoalError):
    """A document is stored, but the model cannot embed it, so searches do not find it; only raised by calls that wait."""


class InternalError(ShoalError):
    """A bug in Shoal."""


BY_REASON: dict[int, type[ShoalError]] = {
    errors_pb2.ERROR_REASON_INVALID_ARGUMENT: InvalidArgument,
    errors_pb2.ERROR_REASON_DIMENSION_MISMATCH: DimensionMismatch,
    errors_pb2.ERROR_REASON_INVALID_MODEL: InvalidModel,
    errors_pb2.ERROR_REASON_COLLECTION_NOT_FOUND: CollectionNotFound,
    errors_pb2.ERROR_REASON_DOCUMENT_NOT_FOUND: DocumentNotFound,
    errors_pb2.ERROR_REASON_KEY_NOT_FOUND: KeyNotFound,
    errors_pb2.ERROR_REASON_COLLECTION_EXISTS: CollectionExists,
    errors_pb2.ERROR_REASON_VERSION_CONFLICT: VersionConflict,
    errors_pb2.ERROR_REASON_MODEL_NOT_SERVED: ModelNotServed,
    errors_pb2.ERROR_REASON_OVERLOADED: Overloaded,
    errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE: MessageTooLarge,
    errors_pb2.ERROR_REASON_UNAVAILABLE: Unavailable,
    errors_pb2.ERROR_REASON_COVERAGE: CoverageTooLow,
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: DeadlineExceeded,
    errors_pb2.ERROR_REASON_UNAUTHENTICATED: Unauthenticated,
    errors_pb2.ERROR_REASON_PERMISSION_DENIED: PermissionDenied,
    errors_pb2.ERROR_REASON_CANCELLED: Cancelled,
    errors_pb2.ERROR_REASON_INTERNAL: InternalError,
    errors_pb2.ERROR_REASON_NOT_EMBEDDED: NotEmbedded,
}

# For failures without a detail: gRPC's own, those of a proxy, or those of a newer server.
BY_STATUS: dict[grpc.StatusCode, type[ShoalError]] = {
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: CollectionExists,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.FAILED_PRECONDITION: VersionConflict,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.UNIMPLEMENTED: Unsupported,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DATA_LOSS: InternalError,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}


def error_from_detail(detail: errors_pb2.ErrorDetail, fallback: type[ShoalError] = ShoalError) -> ShoalError:
    """The exception for a detail; `fallback` is its class if this client does not know the reason."""
    return BY_REASON.get(detail.reason, fallback)(
        _one_line(detail.message) or "the server gave no message",
        field=detail.field,
        value=detail.value,
        limit=detail.limit or None,
        retry_after_s=detail.retry_after_ms / 1000 if detail.retry_after_ms else None,
    )


def error_from_status(code: grpc.StatusCode, message: str, metadata: Iterable[Any] | None, address: str) -> ShoalError:
    """The exception for a failed call: from its detail if it has one, otherwise from its status code."""
    fallback = BY_STATUS.get(code, ShoalError)
    for key, value in metadata or ():
        if key == DETAIL_KEY and isinstance(value, bytes):
            try:
                return error_from_detail(errors_pb2.ErrorDetail.FromString(value), fallback)
            except DecodeError:
                break
    message = _one_line(message)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
        return MessageTooLarge(f"a message is too large: {message}")
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"cannot reach {address}: {message}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unsupported(f"the server at {address} does not know this call: {message}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"no answer from {address} within the timeout")
    return fallback(message or f"the call failed with {code.name}")


def _one_line(message: str) -> str:
    return " ".join(filter(None, (part.strip() for part in message.splitlines())))
