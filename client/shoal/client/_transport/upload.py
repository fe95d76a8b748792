"""The state of an upload: batches cut to size, unanswered batches, and the results of documents.

Decides and counts; the two clients connect, send, wait and read the clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from shoal.client import types
from shoal.client._transport.replies import WaitState, read_results
from shoal.client._transport.requests import encode_document
from shoal.client._transport.tokens import merged
from shoal.client.errors import (
    DeadlineExceeded,
    InvalidArgument,
    MessageTooLarge,
    ModelNotServed,
    Overloaded,
    ShoalError,
    Unavailable,
    error_from_detail,
)
from shoal.v1 import documents_pb2

DEFAULT_BATCH_DOCUMENTS = 256
BATCH_BYTES = 4 * 1024 * 1024
KEPT_REFUSALS = 1000
# Room in a message for the collection's name, the sequence number, and the tag and length of each field.
_ENVELOPE_BYTES = 1024
_DOCUMENT_OVERHEAD_BYTES = 8
_DOCUMENT_FIELD = re.compile(r"documents\[(\d+)\]")


@dataclass(slots=True)
class UploadBatch:
    """Documents sent in one message, with their indices in the caller's iterable."""

    sequence: int
    documents: list[documents_pb2.Document] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    size_bytes: int = 0

    def ids(self) -> set[str]:
        """Ids of its documents; each occurs once."""
        return {document.id for document in self.documents}

    @property
    def repeatable(self) -> bool:
        """False if a document has an expected version: a lost first attempt may have changed its version."""
        return not any(document.HasField("expected_version") for document in self.documents)


class Upload:
    """One upload into one collection, with at most `window` unanswered batches."""

    def __init__(self, collection: str, limits: types.Limits, batch_size: int | None, window: int, source: str = "") -> None:
        if batch_size is not None and not 1 <= batch_size <= limits.documents_per_write:
            message = f"batch_size {batch_size} is not 1 to {limits.documents_per_write}"
            raise InvalidArgument(message, field="batch_size", value=str(batch_size), limit=limits.documents_per_write)
        if window < 1:
            raise InvalidArgument(f"window {window} is below 1", field="window", value=str(window), limit=1)
        self.collection = collection
        self.source = source
        self.window = window
        self._batch_documents = batch_size or min(DEFAULT_BATCH_DOCUMENTS, limits.documents_per_write)
        self._batch_bytes = min(BATCH_BYTES, limits.message_bytes - _ENVELOPE_BYTES)
        self._message_bytes = limits.message_bytes
        self._cutting = UploadBatch(sequence=1)
        self._cutting_ids: set[str] = set()
        self._unanswered: dict[int, UploadBatch] = {}
        self._position = 0
        self._sent = 0
        self._answered = 0
        self._changed = 0
        self._refused = 0
        self._refusals: list[types.Refusal] = []
        self._latest: list[types.Refusal] = []
        self._token: types.Token | None = None
        self._shown = WaitState()

    @property
    def full(self) -> bool:
        """Whether another batch must wait for an answer first."""
        return len(self._unanswered) >= self.window

    @property
    def settled(self) -> bool:
        """Whether every batch sent has been answered."""
        return not self._unanswered

    @property
    def repeatable(self) -> bool:
        """Whether the unanswered batches may be sent again."""
        return all(batch.repeatable for batch in self._unanswered.values())

    def add(self, document: types.Document) -> UploadBatch | None:
        """Takes the next document; returns the batch to send if the document no longer fits. Refuses an invalid document."""
        position, self._position = self._position, self._position + 1
        try:
            wire = encode_document(document, f"documents[{position}]")
        except InvalidArgument as error:
            self._refuse(position, str(getattr(document, "id", "")), error)
            return None
        size_bytes = wire.ByteSize() + _DOCUMENT_OVERHEAD_BYTES
        if size_bytes + _ENVELOPE_BYTES > self._message_bytes:
            message = f"documents[{position}]: {size_bytes} bytes, the limit of a message is {self._message_bytes}"
            self._refuse(
                position, document.id, MessageTooLarge(message, field=f"documents[{position}]", limit=self._message_bytes)
            )
            return None
        cut = None
        full = len(self._cutting.documents) >= self._batch_documents
        large = self._cutting.size_bytes + size_bytes > self._batch_bytes
        # The server accepts a document once per batch; a later edit of it goes into the next batch.
        if full or large or document.id in self._cutting_ids:
            cut = self.cut()
        self._cutting_ids.add(document.id)
        self._cutting.documents.append(wire)
        self._cutting.positions.append(position)
        self._cutting.size_bytes += size_bytes
        return cut

    def cut(self) -> UploadBatch | None:
        """The batch collected so far, however small; None if it is empty."""
        if not self._cutting.documents:
            return None
        batch, self._cutting = self._cutting, UploadBatch(sequence=self._cutting.sequence + 1)
        self._cutting_ids = set()
        return batch

    def sent(self, batch: UploadBatch) -> documents_pb2.UpsertStreamRequest:
        """Counts a batch as sent and returns its message."""
        self._unanswered[batch.sequence] = batch
        self._sent += len(batch.documents)
        return self._message(batch)

    def unanswered(self) -> Iterable[documents_pb2.UpsertStreamRequest]:
        """Messages to send on a new connection, in their original order: a later edit of a document must win."""
        return [self._message(batch) for batch in self._unanswered.values()]

    def settle(self, reply: documents_pb2.UpsertStreamResponse) -> documents_pb2.UpsertStreamRequest | None:
        """Takes a reply. If a batch was refused because of one document, returns the batch without it, to be sent again.

        Raises the error of a batch that was refused for another reason; the batch stays unanswered.
        """
        if reply.HasField("error"):
            return self._without_refused(reply.sequence, error_from_detail(reply.error))
        batch = self._unanswered.pop(reply.sequence, None)
        if batch is None:
            return None
        results = read_results(reply.results)
        # The token of a stream covers its earlier batches, but not those of a stream before it.
        self._token = types.Token(merged(self._token or "", reply.token), results)
        self._answered += len(batch.documents)
        for position, result in zip(batch.positions, results, strict=True):
            if result.error is not None:
                self._refuse(position, result.id, result.error)
            elif result.changed:
                self._changed += 1
        return None

    def progress(self) -> types.UploadProgress:
        """How far the upload is; each refusal is reported once."""
        latest, self._latest = tuple(self._latest), []
        waiting = [batch.positions[0] for batch in (*self._unanswered.values(), self._cutting) if batch.positions]
        settled = min(waiting, default=self._position)
        return types.UploadProgress(self._sent, self._answered, self._refused, latest, settled)

    def summary(self) -> types.UpsertSummary:
        """The result so far."""
        waiting = [batch for batch in (*self._unanswered.values(), self._cutting) if batch.positions]
        first = min(waiting, key=lambda batch: batch.positions[0], default=None)
        return types.UpsertSummary(
            self._position,
            self._changed,
            self._refused,
            tuple(self._refusals),
            self._token,
            self._answered,
            None if first is None else first.documents[0].id,
            self._shown.failed_total,
            self._shown.failed,
        )

    def shown(self, state: WaitState) -> None:
        """Searches show the upload, apart from documents that cannot be embedded."""
        self._shown = state

    def ended_by(self, error: BaseException) -> None:
        """Says in an error that ends the upload how far it came. Running it again writes the rest."""
        summary = self.summary()
        if isinstance(error, ShoalError):
            error.upload = summary
        if not summary.acknowledged:
            return
        done = f"{summary.acknowledged} of {summary.documents} documents were acknowledged"
        if summary.first_unacknowledged is not None:
            done += f", the first that was not is {summary.first_unacknowledged!r}"
        if isinstance(error, ShoalError):
            error.args = (f"{error}; {done}", *error.args[1:])
        else:
            error.add_note(done)

    def _without_refused(self, sequence: int, error: ShoalError) -> documents_pb2.UpsertStreamRequest | None:
        batch = self._unanswered.get(sequence)
        named = _DOCUMENT_FIELD.match(error.field)
        if batch is None or is_transient(error) or named is None or (index := int(named[1])) >= len(batch.documents):
            raise error
        refused = batch.documents.pop(index)
        self._refuse(batch.positions.pop(index), refused.id, error)
        self._answered += 1
        if not batch.documents:
            del self._unanswered[sequence]
            return None
        ids = batch.ids()
        if any(ids & later.ids() for later in self._unanswered.values() if later.sequence > sequence):
            # Sent alone, it could overwrite a later edit of the same document; all batches are sent again, in order.
            raise Unavailable("a batch that a later batch depends on was refused")
        return self._message(batch)

    def _message(self, batch: UploadBatch) -> documents_pb2.UpsertStreamRequest:
        return documents_pb2.UpsertStreamRequest(
            collection=self.collection, documents=batch.documents, sequence=batch.sequence, source=self.source
        )

    def _refuse(self, position: int, id: str, error: ShoalError) -> None:
        refusal = types.Refusal(position, id, error)
        self._refused += 1
        self._latest.append(refusal)
        if len(self._refusals) < KEPT_REFUSALS:
            self._refusals.append(refusal)


def is_transient(error: ShoalError) -> bool:
    """Whether a retry may succeed."""
    return isinstance(error, Unavailable | Overloaded)


UNSERVED_S = 0.5
"""Documents that come with a vector become searchable within this time, though the model is not served."""


class Visibility:
    """Decides how long to wait for the writes of an upload, on the caller's clock."""

    def __init__(self, collection: str, started_at_s: float, timeout_s: float) -> None:
        self._collection = collection
        self._timeout_s = timeout_s
        self._pending: int | None = None
        self._progress_at_s = started_at_s

    @property
    def longest_s(self) -> float:
        """How long the next call should wait at most: not long before it is known whether the model can be served."""
        return min(UNSERVED_S if self._pending is None else 2.0, self._timeout_s / 2)

    def reached(self, state: WaitState, problem: str, now_s: float) -> bool:
        """Whether searches show the upload; raises DeadlineExceeded if nothing more becomes visible, and ModelNotServed if
        that is because of a `problem` of the collection's model."""
        if state.pending == 0:
            return True
        if state.pending != self._pending:
            self._pending, self._progress_at_s = state.pending, now_s
        stuck = f"documents of {self._collection} are still not searchable"
        if problem and now_s - self._progress_at_s >= UNSERVED_S:
            raise ModelNotServed(f"{stuck}: {problem}")
        if now_s - self._progress_at_s >= self._timeout_s:
            raise DeadlineExceeded(f"{stuck} after {self._timeout_s:g} s without progress")
        return False
