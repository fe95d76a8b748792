"""The client for asyncio, with the methods and arguments of the blocking client, whose docstrings describe both."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from random import Random
from typing import TypeVar

import grpc
import grpc.aio

from shoal.client import embeddings, keys, types
from shoal.client._transport import requests as _requests
from shoal.client._transport.async_embedding import run_embedding
from shoal.client._transport.async_upload import run_upload
from shoal.client._transport.channel import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT_S,
    Stubs,
    parse_target,
    timeout_s,
)
from shoal.client._transport.credentials import AuthorizedChannel, check_api_key, open_async_channel
from shoal.client._transport.embedding import DEFAULT_TIMEOUT_S as DEFAULT_EMBED_S
from shoal.client._transport.embedding import EmbedRun
from shoal.client._transport.progress import EmbedReport, Progress, reporter
from shoal.client._transport.replies import WaitState
from shoal.client._transport.retry import Attempts, RetryPolicy
from shoal.client._transport.upload import Upload, Visibility
from shoal.client.errors import InvalidArgument, ShoalError, error_from_status
from shoal.v1 import embedding_pb2

T = TypeVar("T")


class AsyncClient:
    """A connection to a Shoal server, for one event loop. It is a context manager. See Client for its guarantees."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        api_key: str | None = None,
    ) -> None:
        """See Client."""
        self._api_key = check_api_key(api_key)
        self.address = address
        self._target = parse_target(address)
        self._timeout_s = timeout_s(timeout, DEFAULT_TIMEOUT_S)
        self._retry = retry or RetryPolicy()
        # Jitter needs no seed: it exists to differ between clients.
        self._rng = Random()
        self._server: types.ServerInfo | None = None
        # An aio channel belongs to the loop that runs when it is created, so the first call creates it.
        self._channel: grpc.aio.Channel | None = None
        self._stubs: Stubs | None = None
        self._closed = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See Client.close."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def create_collection(
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
        """See Client.create_collection."""
        return await self._run(
            _requests.create_collection(name, model, dimension, index, metric, shards, empty_text), timeout
        )

    async def get_collection(self, name: str, *, timeout: float | None = None) -> types.CollectionInfo:
        """See Client.get_collection."""
        return await self._run(_requests.get_collection(name), timeout)

    async def list_collections(self, *, timeout: float | None = None) -> list[types.CollectionInfo]:
        """See Client.list_collections."""
        return await self._run(_requests.list_collections(), timeout)

    async def drop_collection(self, name: str, *, timeout: float | None = None) -> int:
        """See Client.drop_collection."""
        return await self._run(_requests.drop_collection(name), timeout)

    async def upsert(
        self,
        collection: str,
        documents: Iterable[types.Document],
        *,
        wait: bool = False,
        timeout: float | None = None,
    ) -> types.Token:
        """See Client.upsert."""
        return await self._run(_requests.upsert(collection, documents, wait), timeout)

    async def upsert_many(
        self,
        collection: str,
        documents: Iterable[types.Document] | AsyncIterable[types.Document],
        *,
        batch_size: int | None = None,
        window: int = 4,
        progress: Progress = False,
        wait: bool = False,
        source: str = "",
        timeout: float | None = None,
    ) -> types.UpsertSummary:
        """See Client.upsert_many; `documents` may also be an asynchronous iterable."""
        bound_s = timeout_s(timeout, self._timeout_s)
        upload = Upload(collection, await self._limits(bound_s), batch_size, window, source)
        with reporter(progress, documents, "documents", lambda state: state.acknowledged) as report:
            await run_upload(self._open_stubs(), self.address, upload, documents, report, self._retry, self._rng, bound_s)
        token = upload.summary().token
        if wait and token is not None:
            try:
                upload.shown(await self._wait_until_searchable(collection, token, bound_s))
            except ShoalError as error:
                upload.ended_by(error)
                raise
        return upload.summary()

    async def delete(
        self, collection: str, ids: Sequence[str], *, wait: bool = False, source: str = "", timeout: float | None = None
    ) -> types.Token:
        """See Client.delete."""
        return await self._run(_requests.delete(collection, ids, wait, source), timeout)

    async def source_ids(
        self, collection: str, source: str, *, after: str = "", limit: int = 0, timeout: float | None = None
    ) -> list[str]:
        """See Client.source_ids."""
        return await self._run(_requests.source_ids(collection, source, after, limit), timeout)

    async def get(self, collection: str, ids: Sequence[str], *, timeout: float | None = None) -> list[types.StoredDocument]:
        """See Client.get."""
        return await self._run(_requests.get(collection, ids), timeout)

    async def explain(self, collection: str, id: str, *, timeout: float | None = None) -> types.Explanation:
        """See Client.explain."""
        return await self._run(_requests.explain(collection, id), timeout)

    async def failed(self, collection: str, *, limit: int = 0, timeout: float | None = None) -> list[types.FailedDocument]:
        """See Client.failed."""
        return await self._run(_requests.failed(collection, limit), timeout)

    async def retry_failed(self, collection: str, ids: Sequence[str] = (), *, timeout: float | None = None) -> int:
        """See Client.retry_failed."""
        return await self._run(_requests.retry_failed(collection, ids), timeout)

    async def search(
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
        """See Client.search."""
        return await self._run(
            _requests.search(collection, query, k, token, include_text, min_coverage, like, text_characters), timeout
        )

    async def embed(
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
        """See Client.embed."""
        template = _requests.embed_template(model, role, prompt, dimensions, normalize, truncation, vector_type)
        return await self._run(_requests.embed(template, texts), timeout)

    def embed_many(
        self,
        model: str,
        texts: Iterable[str] | AsyncIterable[str],
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
    ) -> AsyncIterator[embeddings.Embeddings]:
        """See Client.embed_many; `texts` may also be an asynchronous iterable."""
        if isinstance(texts, str):
            raise InvalidArgument("texts must be an iterable of str, not one str", field="texts", value=texts[:40])
        template = _requests.embed_template(model, role, prompt, dimensions, normalize, truncation, vector_type)
        bound_s = timeout_s(timeout, DEFAULT_EMBED_S)
        return self._embed_many(template, texts, batch_size, window, progress, bound_s)

    async def create_key(
        self,
        name: str,
        *,
        role: keys.AccessRole | str,
        collections: Sequence[str] = ("*",),
        lifetime_s: float | None = None,
        timeout: float | None = None,
    ) -> keys.NewApiKey:
        """See Client.create_key."""
        return await self._run(_requests.create_key(name, role, collections, lifetime_s), timeout)

    async def list_keys(self, *, timeout: float | None = None) -> list[keys.ApiKeyInfo]:
        """See Client.list_keys."""
        return await self._run(_requests.list_keys(), timeout)

    async def revoke_key(self, id: str, *, timeout: float | None = None) -> keys.ApiKeyInfo:
        """See Client.revoke_key."""
        return await self._run(_requests.revoke_key(id), timeout)

    async def describe(self, *, timeout: float | None = None) -> types.ServerInfo:
        """See Client.describe."""
        self._server = await self._run(_requests.describe(), timeout)
        return self._server

    async def status(self, *, timeout: float | None = None) -> types.ClusterStatus:
        """See Client.status."""
        return await self._run(_requests.status(), timeout)

    async def _embed_many(
        self,
        template: embedding_pb2.EmbedRequest,
        texts: Iterable[str] | AsyncIterable[str],
        batch_size: int | None,
        window: int,
        progress: EmbedReport,
        bound_s: float,
    ) -> AsyncIterator[embeddings.Embeddings]:
        run = EmbedRun(template, await self._limits(bound_s), batch_size, window)
        with reporter(progress, texts, "texts", lambda state: state.answered) as report:
            stubs = self._open_stubs()
            answers = run_embedding(stubs, self.address, run, texts, report, self._retry, self._rng, bound_s)
            # Closed explicitly: a caller that stops early must not leave the stream to the garbage collector.
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

    async def _limits(self, bound_s: float) -> types.Limits:
        return (self._server or await self.describe(timeout=bound_s)).limits

    async def _wait_until_searchable(self, collection: str, token: str, bound_s: float) -> WaitState:
        visibility = Visibility(collection, time.monotonic(), bound_s)
        while True:
            state = await self._run(_requests.wait(collection, token, visibility.longest_s), bound_s)
            problem = (await self.get_collection(collection, timeout=bound_s)).problem if state.pending else ""
            if visibility.reached(state, problem, time.monotonic()):
                return state

    def _open_stubs(self) -> Stubs:
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._stubs is None:
            self._channel = open_async_channel(self._target)
            channel = self._channel
            self._stubs = Stubs(channel if self._api_key is None else AuthorizedChannel(channel, self._api_key))
        return self._stubs

    async def _run(self, call: _requests.Call[T], timeout: float | None) -> T:
        stubs = self._open_stubs()
        attempts = Attempts(self._retry, self._rng, timeout_s(timeout, self._timeout_s), time.monotonic())
        while True:
            remaining_s = attempts.remaining_s(time.monotonic())
            try:
                return call.read(await call.method(stubs)(call.request, timeout=remaining_s))
            except grpc.aio.AioRpcError as failure:
                error = error_from_status(failure.code(), failure.details() or "", failure.trailing_metadata(), self.address)
                if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise attempts.ended_by(error) from failure
                pause_s = None
                if call.repeatable and failure.code() is grpc.StatusCode.UNAVAILABLE:
                    pause_s = attempts.pause_s(error, time.monotonic())
                if pause_s is None:
                    raise error from failure
            await asyncio.sleep(pause_s)
