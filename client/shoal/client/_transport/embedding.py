"""The state of `embed_many`: texts split into batches, unanswered batches, and answers in the order of the texts.

Decides and counts; the two clients connect, send, wait and read the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from shoal.client import types
from shoal.client._transport.replies import read_embeddings
from shoal.client._transport.requests import text_of
from shoal.client._transport.upload import is_transient
from shoal.client.embeddings import Embeddings, EmbedProgress
from shoal.client.errors import InvalidArgument, ShoalError, error_from_detail
from shoal.v1 import embedding_pb2

DEFAULT_BATCH_TEXTS = 256
# About 32,000 tokens: seconds of work for a medium-sized model on a CPU, so that answers come at a steady pace.
BATCH_BYTES = 128 * 1024
# Streamed texts wait behind all other calls.
DEFAULT_TIMEOUT_S = 300.0


@dataclass(slots=True)
class EmbedBatch:
    """Texts sent in one message. A text that cannot be sent is empty in the request; its error is kept here."""

    number: int
    start: int
    request: embedding_pb2.EmbedRequest
    size_bytes: int = 0
    errors: dict[int, ShoalError] = field(default_factory=dict)


class EmbedRun:
    """The texts of one `embed_many`, with at most `window` batches that are sent and not yet given to the caller."""

    def __init__(
        self, template: embedding_pb2.EmbedRequest, limits: types.Limits, batch_size: int | None, window: int
    ) -> None:
        """`template` is a request without texts; raises InvalidArgument for an invalid `batch_size` or `window`."""
        if batch_size is not None and not 1 <= batch_size <= limits.texts_per_embed:
            message = f"batch_size {batch_size} is not 1 to {limits.texts_per_embed}"
            raise InvalidArgument(message, field="batch_size", value=str(batch_size), limit=limits.texts_per_embed)
        if window < 1:
            raise InvalidArgument(f"window {window} is below 1", field="window", value=str(window), limit=1)
        self._template = template
        self._text_bytes = limits.text_bytes
        self._batch_texts = batch_size or min(DEFAULT_BATCH_TEXTS, limits.texts_per_embed)
        self._window = window
        self._cutting = self._batch(0, 0)
        self._unanswered: dict[int, EmbedBatch] = {}
        self._answered: dict[int, Embeddings] = {}
        self._next = 0
        self._position = self._sent = self._done = self._failed = self._tokens = 0

    @property
    def full(self) -> bool:
        """Whether another batch must wait until the caller has taken one."""
        return len(self._unanswered) + len(self._answered) >= self._window

    @property
    def settled(self) -> bool:
        """Whether every batch sent has been answered and taken."""
        return not self._unanswered and not self._answered

    def add(self, text: str) -> EmbedBatch | None:
        """Takes the next text; returns the batch to send if the text no longer fits. Keeps the error of an invalid text."""
        error: ShoalError | None = None
        size_bytes = 0
        try:
            text, size_bytes = text_of(f"texts[{self._position}]", text)
            if size_bytes > self._text_bytes:
                message = f"texts[{self._position}]: {size_bytes} bytes, the limit is {self._text_bytes}"
                field_ = f"texts[{self._position}]"
                error = InvalidArgument(message, field=field_, value=str(size_bytes), limit=self._text_bytes)
        except InvalidArgument as refusal:
            error = refusal
        if error is not None:
            text, size_bytes = "", 0
        cut = None
        batch = self._cutting
        large = batch.size_bytes and batch.size_bytes + size_bytes > BATCH_BYTES
        if large or len(batch.request.texts) >= self._batch_texts:
            cut, batch = self.cut(), self._cutting
        if error is not None:
            batch.errors[len(batch.request.texts)] = error
        batch.request.texts.append(text)
        batch.size_bytes += size_bytes
        self._position += 1
        return cut

    def cut(self) -> EmbedBatch | None:
        """The batch collected so far, however small; None if it is empty."""
        batch = self._cutting
        if not batch.request.texts:
            return None
        self._cutting = self._batch(batch.number + 1, batch.start + len(batch.request.texts))
        return batch

    def sent(self, batch: EmbedBatch) -> embedding_pb2.EmbedStreamRequest:
        """Counts a batch as sent and returns its message."""
        self._unanswered[batch.number] = batch
        self._sent += len(batch.request.texts)
        return embedding_pb2.EmbedStreamRequest(id=batch.number, embed=batch.request)

    def unanswered(self) -> list[embedding_pb2.EmbedStreamRequest]:
        """Messages to send on a new connection."""
        return [embedding_pb2.EmbedStreamRequest(id=one.number, embed=one.request) for one in self._unanswered.values()]

    def settle(self, reply: embedding_pb2.EmbedStreamResponse) -> tuple[embedding_pb2.EmbedStreamRequest, ShoalError] | None:
        """Takes a reply. If the server had no room or no encoder, returns the message to send again, and the reason.

        Raises the error of a batch that was refused for another reason.
        """
        batch = self._unanswered.get(reply.id)
        if batch is None:
            return None
        if reply.HasField("error"):
            error = error_from_detail(reply.error)
            if not is_transient(error):
                raise error
            return embedding_pb2.EmbedStreamRequest(id=batch.number, embed=batch.request), error
        embeddings = read_embeddings(reply.embed, len(batch.request.texts))
        del self._unanswered[reply.id]
        errors = {**embeddings.errors, **batch.errors}
        self._answered[batch.number] = replace(embeddings, errors=errors, start=batch.start)
        self._done += len(embeddings)
        self._failed += len(errors)
        self._tokens += int(embeddings.tokens.sum())
        return None

    def ready(self) -> Iterator[Embeddings]:
        """The answers that can be given to the caller now, in the order of the texts."""
        while (found := self._answered.pop(self._next, None)) is not None:
            self._next += 1
            yield found

    def progress(self) -> EmbedProgress:
        """How far the run is."""
        return EmbedProgress(self._sent, self._done, self._failed, self._tokens)

    def _batch(self, number: int, start: int) -> EmbedBatch:
        request = embedding_pb2.EmbedRequest()
        request.CopyFrom(self._template)
        return EmbedBatch(number, start, request)
