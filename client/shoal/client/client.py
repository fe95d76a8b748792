"""The client for ordinary, blocking code. What is asked and how answers are read lives in `_requests`."""

# grpc's classes are generic in their type stubs alone, so annotations must not be evaluated.
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import TypeVar

import grpc

from shoal.client import embeddings, types
from shoal.client._transport import requests as _requests
from shoal.client._transport.channel import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    Stubs,
    channel_options,
    parse_target,
    timeout_s,
)
from shoal.client._transport.embedding import DEFAULT_TIMEOUT_S as DEFAULT_EMBED_S
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.progress import EmbedReport, Progress, reporter
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.sync_embedding import run_embedding
from shoal.client._transport.sync_upload import run_upload
from shoal.client._transport.upload import Upload, Visibility
from shoal.client.errors import InvalidArgument, error_from_status
from shoal.v1 import embedding_pb2

T = TypeVar("T")


class Client:
    """A connection to a Shoal server; several threads may share it, and it is a context manager.

    Calls that find the server unavailable are repeated, with growing pauses, until their timeout (seconds; by default the
    client's) passes. Every failure is a subclass of ShoalError: Unavailable and DeadlineExceeded may come from any
    method, InvalidArgument from any that takes input, and CollectionNotFound from any that names a collection.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = DEFAULT_TIMEOUT_S, retry: RetryPolicy | None = None
    ) -> None:
        self.address = address
        self._target = parse_target(address)
        self._timeout_s = timeout_s(timeout, DEFAULT_TIMEOUT_S)
        self._retry = retry or RetryPolicy()
        # Jitter needs no seed: it exists to differ between clients.
        self._rng = Random()
        self._server: types.ServerInfo | None = None
        self._channel = grpc.insecure_channel(self._target, channel_options())
        self._stubs = Stubs(self._channel)
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; calls under way fail with Cancelled, later ones with RuntimeError."""
        self._closed = True
        self._channel.close()

    def create_collection(
        self,
        name: str,
        *,
        model: str = "",
        dimension: int = 0,
        index: types.IndexKind | None = None,
        metric: types.Metric = "cosine",
        shards: int = 0,
        empty_text: types.EmptyText = "reject",
        timeout: float | None = None,
    ) -> types.CollectionInfo:
        """Creates a collection; raises CollectionExists, or InvalidModel when the server cannot load the model.

        Without a model it holds users' own vectors of `dimension` numbers. No index and 0 shards take the server's defaults.
        A call repeated after its first answer was lost raises CollectionExists.
        """
        return self._run(_requests.create_collection(name, model, dimension, index, metric, shards, empty_text), timeout)

    def get_collection(self, name: str, *, timeout: float | None = None) -> types.CollectionInfo:
        """The settings and state of one collection."""
        return self._run(_requests.get_collection(name), timeout)

    def list_collections(self, *, timeout: float | None = None) -> list[types.CollectionInfo]:
        """The settings and state of every collection."""
        return self._run(_requests.list_collections(), timeout)

    def drop_collection(self, name: str, *, timeout: float | None = None) -> int:
        """Removes a collection and returns how many documents it had.

        A call repeated after its first answer was lost raises CollectionNotFound.
        """
        return self._run(_requests.drop_collection(name), timeout)

    def upsert(
        self,
        collection: str,
        documents: Iterable[types.Document],
        *,
        wait: bool = False,
        timeout: float | None = None,
    ) -> types.Token:
        """Writes one batch of documents; a search that carries the token sees them. `wait` returns once they are searchable.

        Raises what is wrong with the first document that was refused (VersionConflict, DimensionMismatch, ...); the others
        stand, and `token.results` of the exception tells about each. A batch with a version condition is sent once only,
        since a repeated one could meet its own first attempt. `upsert_many` is for more than one batch.
        """
        return self._run(_requests.upsert(collection, documents, wait), timeout)

    def upsert_many(
        self,
        collection: str,
        documents: Iterable[types.Document],
        *,
        batch_size: int | None = None,
        window: int = 4,
        progress: Progress = False,
        wait: bool = False,
        timeout: float | None = None,
    ) -> types.UpsertSummary:
        """Streams any number of documents; the server sets the pace, with at most `window` batches unanswered.

        Batches are cut to the server's limits. When the connection breaks or the server is full, it goes on from the first
        unanswered batch. Refused documents are collected in the summary and stop nothing. `progress` draws a bar on
        stderr, or is called with an UploadProgress. `timeout` bounds the time without any progress, not the whole.
        """
        bound_s = timeout_s(timeout, self._timeout_s)
        upload = Upload(collection, self._limits(bound_s), batch_size, window)
        with reporter(progress, documents, "documents", lambda state: state.acknowledged) as tell:
            self._check_open()
            run_upload(self._stubs, self.address, upload, documents, tell, self._retry, self._rng, bound_s)
        if wait and upload.summary().token is not None:
            self._wait_until_searchable(collection, bound_s)
        return upload.summary()

    def delete(
        self, collection: str, ids: Sequence[str], *, wait: bool = False, timeout: float | None = None
    ) -> types.Token:
        """Deletes documents. One that does not exist is no error: its result says that nothing changed."""
        return self._run(_requests.delete(collection, ids, wait), timeout)

    def get(self, collection: str, ids: Sequence[str], *, timeout: float | None = None) -> list[types.StoredDocument]:
        """Those of the documents that exist, in the order asked for."""
        return self._run(_requests.get(collection, ids), timeout)

    def explain(self, collection: str, id: str, *, timeout: float | None = None) -> types.Explanation:
        """Why a search does or does not show the newest version of a document; raises DocumentNotFound."""
        return self._run(_requests.explain(collection, id), timeout)

    def failed(self, collection: str, *, limit: int = 0, timeout: float | None = None) -> list[types.FailedDocument]:
        """Documents set aside because they cannot be embedded; 0 takes the server's limit."""
        return self._run(_requests.failed(collection, limit), timeout)

    def retry_failed(self, collection: str, ids: Sequence[str] = (), *, timeout: float | None = None) -> int:
        """Has documents that were set aside tried again, all when no ids are given; returns how many."""
        return self._run(_requests.retry_failed(collection, ids), timeout)

    def search(
        self,
        collection: str,
        query: str | types.Vector,
        *,
        k: int = 10,
        token: str | None = None,
        include_text: bool = False,
        min_coverage: float | None = None,
        timeout: float | None = None,
    ) -> types.SearchResult:
        """The `k` documents nearest to a text, or to a vector of shape (dimension,).

        With the token of a write, the answer waits until it shows that write. Raises CoverageTooLow or Unavailable when a
        shard cannot be reached, unless `min_coverage` (0 to 1) allows for it.
        """
        return self._run(_requests.search(collection, query, k, token, include_text, min_coverage), timeout)

    def embed(
        self,
        model: str,
        texts: Sequence[str],
        *,
        role: types.Role = "document",
        prompt: str | None = None,
        dimensions: int = 0,
        normalize: bool | None = None,
        truncation: embeddings.Truncation = "end",
        vector_type: embeddings.VectorType = "float32",
        timeout: float | None = None,
    ) -> embeddings.Embeddings:
        """Vectors of texts, in their order, without any collection; raises InvalidModel.

        `prompt` is put before each text in place of the role's own ("" puts nothing); `dimensions` keeps only so many
        leading numbers (0: all); `normalize` asks for vectors of unit length, or as they come (None: as the model's files
        say); `truncation` says what becomes of a text that is longer than the model reads. A text that has no vector is in
        `errors` of the answer, and raises nothing. `embed_many` is for more texts than one call takes.
        """
        template = _requests.embed_template(model, role, prompt, dimensions, normalize, truncation, vector_type)
        return self._run(_requests.embed(template, texts), timeout)

    def embed_many(
        self,
        model: str,
        texts: Iterable[str],
        *,
        role: types.Role = "document",
        prompt: str | None = None,
        dimensions: int = 0,
        normalize: bool | None = None,
        truncation: embeddings.Truncation = "end",
        vector_type: embeddings.VectorType = "float32",
        batch_size: int | None = None,
        window: int = 4,
        progress: EmbedReport = False,
        timeout: float | None = None,
    ) -> Iterator[embeddings.Embeddings]:
        """Vectors of any number of texts: yields them batch by batch, in the order of the texts.

        The server sets the pace, with at most `window` batches on their way, so memory stays bounded. Texts wait behind the
        calls of others. When the connection breaks or the server is full, unanswered batches are sent again. The arguments
        are those of `embed`; `progress` draws a bar on stderr, or is called with an EmbedProgress. `timeout` (300 s by
        default) bounds the time without any answer, not the whole.
        """
        if isinstance(texts, str):
            raise InvalidArgument("texts must be an iterable of str, not one str", field="texts", value=texts[:40])
        template = _requests.embed_template(model, role, prompt, dimensions, normalize, truncation, vector_type)
        bound_s = timeout_s(timeout, DEFAULT_EMBED_S)
        return self._embed_many(template, texts, batch_size, window, progress, bound_s)

    def describe(self, *, timeout: float | None = None) -> types.ServerInfo:
        """What the server is and every limit that it puts on input."""
        self._server = self._run(_requests.describe(), timeout)
        return self._server

    def status(self, *, timeout: float | None = None) -> types.ClusterStatus:
        """The collections and processes of the cluster."""
        return self._run(_requests.status(), timeout)

    def _embed_many(
        self,
        template: embedding_pb2.EmbedRequest,
        texts: Iterable[str],
        batch_size: int | None,
        window: int,
        progress: EmbedReport,
        bound_s: float,
    ) -> Iterator[embeddings.Embeddings]:
        run = EmbedRun(template, self._limits(bound_s), batch_size, window)
        with reporter(progress, texts, "texts", lambda state: state.answered) as tell:
            self._check_open()
            yield from run_embedding(self._stubs, self.address, run, texts, tell, self._retry, self._rng, bound_s)

    def _limits(self, bound_s: float) -> types.Limits:
        return (self._server or self.describe(timeout=bound_s)).limits

    def _wait_until_searchable(self, collection: str, bound_s: float) -> None:
        visibility = Visibility(collection, time.monotonic(), bound_s)
        while True:
            asked_at_s = time.monotonic()
            info = self.get_collection(collection, timeout=bound_s)
            pause_s = visibility.pause_s(info, asked_at_s, time.monotonic())
            if pause_s is None:
                return
            time.sleep(pause_s)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    def _run(self, call: _requests.Call[T], timeout: float | None) -> T:
        self._check_open()
        attempts = Attempts(self._retry, self._rng, timeout_s(timeout, self._timeout_s), time.monotonic())
        while True:
            remaining_s = attempts.remaining_s(time.monotonic())
            try:
                return call.read(call.method(self._stubs)(call.request, timeout=remaining_s))
            except grpc.RpcError as failure:
                error = error_from_status(failure.code(), failure.details() or "", failure.trailing_metadata(), self.address)
                if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise attempts.ended_by(error) from failure
                pause_s = None
                if call.repeatable and failure.code() is grpc.StatusCode.UNAVAILABLE:
                    pause_s = attempts.pause_s(error, time.monotonic())
                if pause_s is None:
                    raise error from failure
            time.sleep(pause_s)
