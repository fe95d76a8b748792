"""Every refusal that the cluster gives to a caller, and how it travels over gRPC.

ClusterError
├── InvalidRequest          a field is malformed or out of its limits
│   ├── DimensionMismatch   a vector of the wrong length
│   └── InvalidModel        a model that cannot be found, read or run
├── CollectionMissing       no collection of that name
├── DocumentMissing         no document of that id
├── KeyMissing              no API key of that id
├── CollectionTaken         the name is in use
├── ModelNotServed          no encoder can serve the model now, and waiting does not help
├── VersionConflict         the stored version is not the expected one
├── Overloaded              a queue or the memory is full
├── MessageTooLarge         a message above the server's size
├── Unavailable             a shard, an encoder, the ledger or the coordinator cannot be reached now
│   ├── Unreachable         a call inside the cluster got no reply
│   └── CoverageTooLow      fewer documents can be reached than the request asks for
├── DeadlineExceeded        the caller's time is up
├── Unauthenticated         no credentials, or wrong ones
├── PermissionDenied        credentials that do not allow this
├── Cancelled               the caller gave up
├── NotEmbedded             a document that a caller waited for is stored, but cannot be embedded
├── InternalDefect          a bug in Shoal itself
└── ListenError             the public port cannot be bound (start-up; never on the wire)
"""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from shoal.cluster.ledger import errors as ledger_errors
from shoal.v1 import errors_pb2

ERROR_KEY = "shoal-error-bin"
VALUE_CHARACTERS = 80

Reason = errors_pb2.ErrorReason.ValueType


class ClusterError(Exception):
    """A refusal with its reason, one line for people, and where it applies the field, its value and the limit."""

    reason: ClassVar[Reason] = errors_pb2.ERROR_REASON_INTERNAL

    def __init__(self, message: str, *, field: str = "", value: str = "", limit: int = 0, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.limit = limit
        self.retry_after_ms = retry_after_ms

    def detail(self) -> errors_pb2.ErrorDetail:
        """The form that travels."""
        return errors_pb2.ErrorDetail(
            reason=self.reason,
            message=self.message,
            field=self.field,
            value=self.value,
            limit=self.limit,
            retry_after_ms=self.retry_after_ms,
        )

    @property
    def status(self) -> grpc.StatusCode:
        """The gRPC status that carries this error."""
        return STATUS[self.reason]


class InvalidRequest(ClusterError):
    """A field is malformed or out of its limits."""

    reason = errors_pb2.ERROR_REASON_INVALID_ARGUMENT


class DimensionMismatch(InvalidRequest):
    """A vector's length differs from the collection's dimension."""

    reason = errors_pb2.ERROR_REASON_DIMENSION_MISMATCH


class InvalidModel(InvalidRequest):
    """A model cannot be found, read or run."""

    reason = errors_pb2.ERROR_REASON_INVALID_MODEL


class CollectionMissing(ClusterError):
    """No collection of that name."""

    reason = errors_pb2.ERROR_REASON_COLLECTION_NOT_FOUND


class DocumentMissing(ClusterError):
    """No document of that id."""

    reason = errors_pb2.ERROR_REASON_DOCUMENT_NOT_FOUND


class KeyMissing(ClusterError):
    """No API key of that id."""

    reason = errors_pb2.ERROR_REASON_KEY_NOT_FOUND


class CollectionTaken(ClusterError):
    """The collection's name is in use."""

    reason = errors_pb2.ERROR_REASON_COLLECTION_EXISTS


class VersionConflict(ClusterError):
    """The stored version is not the one the caller expected."""

    reason = errors_pb2.ERROR_REASON_VERSION_CONFLICT


class ModelNotServed(ClusterError):
    """No encoder can serve a model now: it cannot be loaded, its files have changed, or nothing is free for it."""

    reason = errors_pb2.ERROR_REASON_MODEL_NOT_SERVED


class Overloaded(ClusterError):
    """A queue or the memory is full."""

    reason = errors_pb2.ERROR_REASON_OVERLOADED


class MessageTooLarge(ClusterError):
    """A message is larger than the server takes or gives."""

    reason = errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE


class Unavailable(ClusterError):
    """A shard, an encoder, the ledger or the coordinator cannot be reached now."""

    reason = errors_pb2.ERROR_REASON_UNAVAILABLE


class Unreachable(Unavailable):
    """A call to a process of the cluster got no reply: it may not have arrived."""


class CoverageTooLow(Unavailable):
    """Fewer documents can be reached than the request's minimum coverage asks for."""

    reason = errors_pb2.ERROR_REASON_COVERAGE


class DeadlineExceeded(ClusterError):
    """The caller's time is up."""

    reason = errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED


class Unauthenticated(ClusterError):
    """No credentials, or wrong ones."""

    reason = errors_pb2.ERROR_REASON_UNAUTHENTICATED


class PermissionDenied(ClusterError):
    """Credentials that do not allow this."""

    reason = errors_pb2.ERROR_REASON_PERMISSION_DENIED


class Cancelled(ClusterError):
    """The caller gave up."""

    reason = errors_pb2.ERROR_REASON_CANCELLED


class NotEmbedded(ClusterError):
    """A document that a caller waited for is stored, but cannot be embedded."""

    reason = errors_pb2.ERROR_REASON_NOT_EMBEDDED


class InternalDefect(ClusterError):
    """A defect in Shoal itself."""


class ListenError(ClusterError):
    """The public port cannot be bound, most often because it is in use."""


# DESIGN section 11.
STATUS: dict[Reason, grpc.StatusCode] = {
    errors_pb2.ERROR_REASON_INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_DIMENSION_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_INVALID_MODEL: grpc.StatusCode.INVALID_ARGUMENT,
    errors_pb2.ERROR_REASON_COLLECTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    errors_pb2.ERROR_REASON_DOCUMENT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    errors_pb2.ERROR_REASON_KEY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    errors_pb2.ERROR_REASON_COLLECTION_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_VERSION_CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_MODEL_NOT_SERVED: grpc.StatusCode.FAILED_PRECONDITION,
    errors_pb2.ERROR_REASON_OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_MESSAGE_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors_pb2.ERROR_REASON_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    errors_pb2.ERROR_REASON_COVERAGE: grpc.StatusCode.UNAVAILABLE,
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors_pb2.ERROR_REASON_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    errors_pb2.ERROR_REASON_PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    errors_pb2.ERROR_REASON_CANCELLED: grpc.StatusCode.CANCELLED,
    errors_pb2.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    errors_pb2.ERROR_REASON_NOT_EMBEDDED: grpc.StatusCode.FAILED_PRECONDITION,
}

CLASSES: dict[Reason, type[ClusterError]] = {
    kind.reason: kind
    for kind in (
        InvalidRequest,
        DimensionMismatch,
        InvalidModel,
        CollectionMissing,
        DocumentMissing,
        KeyMissing,
        CollectionTaken,
        VersionConflict,
        ModelNotServed,
        Overloaded,
        MessageTooLarge,
        Unavailable,
        CoverageTooLow,
        DeadlineExceeded,
        Unauthenticated,
        PermissionDenied,
        Cancelled,
        NotEmbedded,
        InternalDefect,
    )
}

# What a bare status from inside the cluster means to a caller outside. UNAUTHENTICATED is our own secret: a defect.
_BARE: dict[grpc.StatusCode, type[ClusterError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Unavailable,
}


def shortened(value: object) -> str:
    """`value` as one line of at most VALUE_CHARACTERS characters, for an error message."""
    text = value[: VALUE_CHARACTERS + 1] if isinstance(value, str) else str(value)
    line = " ".join(text.splitlines())
    return line if len(line) <= VALUE_CHARACTERS else line[: VALUE_CHARACTERS - 1] + "…"


def quoted(value: str) -> str:
    """`value` as it was, in quotes and with escapes for what cannot be seen; its beginning if it is long."""
    return repr(value) if len(value) <= VALUE_CHARACTERS else f"{value[: VALUE_CHARACTERS - 1]!r}…"


def from_detail(detail: errors_pb2.ErrorDetail) -> ClusterError:
    """The exception that an ErrorDetail stands for; an unknown reason becomes InternalDefect."""
    return CLASSES.get(detail.reason, InternalDefect)(
        detail.message,
        field=detail.field,
        value=detail.value,
        limit=detail.limit,
        retry_after_ms=detail.retry_after_ms,
    )


def from_rpc(error: grpc.aio.AioRpcError, peer: str) -> ClusterError:
    """What a failed call inside the cluster means: its own ErrorDetail if it has one, else its status.

    `peer` says who was asked, for the message.
    """
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                return from_detail(errors_pb2.ErrorDetail.FromString(value))
            except DecodeError:
                break
    kind = _BARE.get(error.code(), InternalDefect)
    said = shortened(error.details() or error.code().name)
    return kind(f"{peer}: {said}")


def from_ledger(error: ledger_errors.LedgerError) -> ClusterError:
    """What a ledger's error means to a caller."""
    message = str(error)
    if isinstance(error, ledger_errors.CollectionNotFound):
        return CollectionMissing(message)
    if isinstance(error, ledger_errors.DocumentNotFound):
        return DocumentMissing(message)
    if isinstance(error, ledger_errors.KeyNotFound):
        return KeyMissing(message)
    if isinstance(error, ledger_errors.CollectionExists):
        return CollectionTaken(message)
    if isinstance(error, ledger_errors.ResultTooLarge):
        return MessageTooLarge(message, limit=error.limit)
    if isinstance(error, ledger_errors.MalformedId):
        return InvalidRequest(message, field="id", value=quoted(error.document_id))
    if isinstance(error, (ledger_errors.Deposed, ledger_errors.LeaseHeld, ledger_errors.LedgerUnreadable)):
        return Unavailable(message, retry_after_ms=200)
    return InternalDefect(message)


async def refuse(context: grpc.aio.ServicerContext[Any, Any], error: ClusterError) -> NoReturn:
    """Ends a call with `error`: its status, its message, and its ErrorDetail in the trailing metadata."""
    metadata = ((ERROR_KEY, error.detail().SerializeToString()),)
    await context.abort(error.status, error.message, trailing_metadata=metadata)
    raise AssertionError("abort always raises")
