"""The blocking client. `_transport.requests` builds its requests and reads the replies."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import TypeVar

import grpc

from shoal.client import embeddings, keys, types
from shoal.client._transport import requests as _requests
from shoal.client._transport.channel import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    Stubs,
    parse_target,
    timeout_s,
)
from shoal.client._transport.credentials import AuthorizedChannel, check_api_key, open_channel
from shoal.client._transport.embedding import DEFAULT_TIMEOUT_S as DEFAULT_EMBED_S
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.progress import EmbedReport, Progress, reporter
from shoal.client._transport.replies import WaitState
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.sync_embedding import run_embedding
from shoal.client._transport.sync_upload import run_upload
from shoal.client._transport.upload import Upload, Visibility
from shoal.client.errors import InvalidArgument, ShoalError, error_from_status
from shoal.v1 import embedding_pb2

T = TypeVar("T")


class Client:
    """A connection to a Shoal server. Several threads may share it. It is a context manager.

    While the server is unavailable, a call is retried with growing pauses until its timeout (in seconds; by default the
    client's) has passed. Every failure is a subclass of ShoalError. Any method may raise Unavailable and DeadlineExceeded,
    any method that takes input InvalidArgument, and any method that names a collection CollectionNotFound.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        api_key: str | None = None,
    ) -> None:
        """`api_key` is sent with every call, to a server that needs keys."""
        self.address = address
        self._target = parse_target(address)
        self._timeout_s = timeout_s(timeout, DEFAULT_TIMEOUT_S)
        self._retry = retry or RetryPolicy()
        # Jitter needs no seed: it exists to differ between clients.
        self._rng = Random()
        self._server: types.ServerInfo | None = None
        key = check_api_key(api_key)
        self._channel = open_channel(self._target)
        self._stubs = Stubs(self._channel if key is None else AuthorizedChannel(self._channel, key))
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. Calls in progress fail with Cancelled, later calls with RuntimeError."""
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

        Without a model, documents bring their own vectors of `dimension` numbers. No index and 0 shards take the server's
        defaults. A retry after a lost answer raises CollectionExists.
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

        A retry after a lost answer raises CollectionNotFound.
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
        """Writes one batch of documents. A search with the token sees them. `wait`: return when they are searchable.

        If documents are refused, raises the error of the first (VersionConflict, DimensionMismatch, ...), or with `wait`
        NotEmbedded if one cannot be embedded. The others are written, and `token.results` of the exception has the result of
        each. A batch with an `expected_version` is never retried, because it could conflict with its own first attempt.
        Use `upsert_many` for more than one batch.
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
        source: str = "",
        timeout: float | None = None,
    ) -> types.UpsertSummary:
        """Streams any number of documents. The server sets the pace: at most `window` batches are unanswered.

        Batches are cut to the server's limits. When the connection breaks or the server is full, the upload resumes with the
        first unanswered batch. Refused documents do not stop it; they are listed in the summary. `progress`: True draws a
        bar on stderr, a function is called with each UploadProgress. `timeout` limits the time without progress, not the
        whole upload. With `wait`, it returns when the documents are searchable; those that cannot be embedded are counted
        and listed in the summary.

        With a `source`, such as the path of a folder, the server remembers which documents came from there: `source_ids`
        lists them, and `delete` with the same source deletes what is gone there, unless another source has it.

        An error that ends the upload has in `upload` what was done before, and says how many documents were acknowledged
        and which is the first that was not. The same upload, repeated, goes on: documents that are there stay as they are.
        """
        bound_s = timeout_s(timeout, self._timeout_s)
        upload = Upload(collection, self._limits(bound_s), batch_size, window, source)
        with reporter(progress, documents, "documents", lambda state: state.acknowledged) as report:
            self._check_open()
            run_upload(self._stubs, self.address, upload, documents, report, self._retry, self._rng, bound_s)
        token = upload.summary().token
        if wait and token is not None:
            try:
                upload.shown(self._wait_until_searchable(collection, token, bound_s))
            except ShoalError as error:
                upload.ended_by(error)
                raise
        return upload.summary()

    def delete(
        self, collection: str, ids: Sequence[str], *, wait: bool = False, source: str = "", timeout: float | None = None
    ) -> types.Token:
        """Deletes documents. Deleting one that does not exist is not an error: its result has `changed` False."""
        return self._run(_requests.delete(collection, ids, wait, source), timeout)

    def source_ids(
        self, collection: str, source: str, *, after: str = "", limit: int = 0, timeout: float | None = None
    ) -> list[str]:
        """At most `limit` ids (0: the server's limit) of the documents that uploads from `source` brought, in order.

        `after`: only ids after this one. Deleted documents are left out.
        """
        return self._run(_requests.source_ids(collection, source, after, limit), timeout)

    def get(self, collection: str, ids: Sequence[str], *, timeout: float | None = None) -> list[types.StoredDocument]:
        """The documents with these ids that exist, in the order of the ids."""
        return self._run(_requests.get(collection, ids), timeout)

    def explain(self, collection: str, id: str, *, timeout: float | None = None) -> types.Explanation:
        """Why a search does or does not show the newest version of a document; raises DocumentNotFound."""
        return self._run(_requests.explain(collection, id), timeout)

    def failed(self, collection: str, *, limit: int = 0, timeout: float | None = None) -> list[types.FailedDocument]:
        """Documents that could not be embedded, at most `limit` of them (0: the server's limit)."""
        return self._run(_requests.failed(collection, limit), timeout)

    def retry_failed(self, collection: str, ids: Sequence[str] = (), *, timeout: float | None = None) -> int:
        """Retries documents that could not be embedded, all of them if no ids are given; returns how many."""
        return self._run(_requests.retry_failed(collection, ids), timeout)

    def search(
        self,
        collection: str,
        query: str | types.Vector | None = None,
        *,
        like: str | None = None,
        k: int = 10,
        token: str | Sequence[str] | None = None,
        include_text: bool = False,
        text_characters: int = 0,
        min_coverage: float | None = None,
        timeout: float | None = None,
    ) -> types.SearchResult:
        """The `k` documents nearest to a text, to a vector of shape (dimension,), or to the vector of the document `like`.

        The document `like` is not among the hits. Raises DocumentNotFound if there is none; while it has no vector yet, the
        search waits for it. Hits have their text only with `include_text`; `text_characters` cuts it (0: it is whole).

        With the token of a write, or a list of them, the search waits until it sees these writes. If a shard cannot be
        reached, it raises CoverageTooLow or Unavailable, unless `min_coverage` is a share (0 to 1) of the documents that can
        be reached.
        """
        return self._run(
            _requests.search(collection, query, k, token, include_text, min_coverage, like, text_characters), timeout
        )

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
        """Vectors of texts, in their order, without a collection; raises InvalidModel.

        `prompt` is put before each text instead of the role's own prompt ("": no prompt). `dimensions` keeps only the first
        numbers of each vector (0: all). `normalize` makes vectors unit length or leaves them as they are (None: as the
        model's files say). `truncation` says how a text longer than the model reads is cut. A text that cannot be embedded
        raises nothing: its error is in `errors` of the answer. Use `embed_many` for more texts than one call takes.
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
        """Vectors of any number of texts, yielded batch by batch in the order of the texts.

        The server sets the pace: at most `window` batches are in flight, so memory stays bounded. Calls of `embed` and
        searches go first. When the connection breaks or the server is full, unanswered batches are sent again. The other
        arguments are those of `embed`. `progress`: True draws a bar on stderr, a function is called with each EmbedProgress.
        `timeout` (300 s by default) limits the time without an answer, not the whole.
        """
        if isinstance(texts, str):
            raise InvalidArgument("texts must be an iterable of str, not one str", field="texts", value=texts[:40])
        template = _requests.embed_template(model, role, prompt, dimensions, normalize, truncation, vector_type)
        bound_s = timeout_s(timeout, DEFAULT_EMBED_S)
        return self._embed_many(template, texts, batch_size, window, progress, bound_s)

    def create_key(
        self,
        name: str,
        *,
        role: keys.AccessRole | str,
        collections: Sequence[str] = ("*",),
        lifetime_s: float | None = None,
        timeout: float | None = None,
    ) -> keys.NewApiKey:
        """Creates an API key. `name` says what it is for. `collections` are names, or beginnings of names with "*" behind.

        It expires after `lifetime_s` seconds, by default never. Raises PermissionDenied unless the caller's own key is an
        administrator's for every collection. The text of the key is in the answer alone.
        """
        return self._run(_requests.create_key(name, role, collections, lifetime_s), timeout)

    def list_keys(self, *, timeout: float | None = None) -> list[keys.ApiKeyInfo]:
        """Every API key, oldest first; revoked and expired ones too."""
        return self._run(_requests.list_keys(), timeout)

    def revoke_key(self, id: str, *, timeout: float | None = None) -> keys.ApiKeyInfo:
        """Revokes an API key for good. Calls that begin after this has returned are refused. Raises KeyNotFound."""
        return self._run(_requests.revoke_key(id), timeout)

    def describe(self, *, timeout: float | None = None) -> types.ServerInfo:
        """The server's version and its limits on input."""
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
        with reporter(progress, texts, "texts", lambda state: state.answered) as report:
            self._check_open()
            yield from run_embedding(self._stubs, self.address, run, texts, report, self._retry, self._rng, bound_s)

    def _limits(self, bound_s: float) -> types.Limits:
        return (self._server or self.describe(timeout=bound_s)).limits

    def _wait_until_searchable(self, collection: str, token: str, bound_s: float) -> WaitState:
        visibility = Visibility(collection, time.monotonic(), bound_s)
        while True:
            state = self._run(_requests.wait(collection, token, visibility.longest_s), bound_s)
            problem = self.get_collection(collection, timeout=bound_s).problem if state.pending else ""
            if visibility.reached(state, problem, time.monotonic()):
                return state

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
