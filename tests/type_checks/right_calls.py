"""Calls of the client that type checkers accept, and the types that they see. Read by pyright, never run.

A user's program in strict mode: no part of the client's public API may be of unknown type.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from shoal import client as shoal
from shoal.client.samples import documents as sample_documents
from shoal.records import BadRow, Fields, InputFile, Record, Row, find_inputs, read_file


def collections(client: shoal.Client) -> None:
    info = client.create_collection("papers", model="all-MiniLM-L6-v2")
    assert_type(info, shoal.CollectionInfo)
    client.create_collection("own", dimension=384, index="flat", metric="l2", shards=2, empty_text="store", timeout=5)
    client.create_collection("default", model="m", index=None, timeout=None)
    assert_type(client.get_collection("papers"), shoal.CollectionInfo)
    assert_type(client.list_collections(), list[shoal.CollectionInfo])
    assert_type(client.drop_collection("papers"), int)
    assert_type(info.created_at, datetime)
    assert_type(info.shards, tuple[shoal.ShardInfo, ...])


def documents() -> Iterator[shoal.Document]:
    yield shoal.Document("a")
    yield shoal.Document(id="b", text="text", payload={"year": 2020, "tags": ["x"]}, expected_version=0)
    yield shoal.Document("c", vector=[0.5, 1.0])
    yield shoal.Document("d", vector=np.zeros(3, dtype=np.float16))
    yield shoal.Document("e", "text", embedding=shoal.Embedding([1.0], "fingerprint", b"hash", truncated=True))


async def documents_as_they_come() -> AsyncIterator[shoal.Document]:
    yield shoal.Document("f")


def writes(client: shoal.Client) -> None:
    token = client.upsert("papers", [shoal.Document("a")], wait=True)
    assert_type(token, shoal.Token)
    as_text: str = token
    assert_type(token.results, tuple[shoal.WriteResult, ...])
    assert_type(token.results[0].error, shoal.ShoalError | None)
    client.upsert("papers", documents())
    summary = client.upsert_many("papers", sample_documents(), batch_size=100, window=2, progress=True, wait=True)
    assert_type(summary.token, shoal.Token | None)
    assert_type(summary.refusals, tuple[shoal.Refusal, ...])

    def follow(progress: shoal.UploadProgress) -> None:
        assert_type(progress.acknowledged, int)

    client.upsert_many("papers", documents(), progress=follow, timeout=60.0)
    client.delete("papers", ["a", "b"])
    client.delete("papers", ("a",), wait=True, source="/notes")
    client.search("papers", "query", token=as_text)


def reads(client: shoal.Client) -> None:
    for stored in client.get("papers", ["a"]):
        assert_type(stored, shoal.StoredDocument)
        assert_type(stored.payload, Mapping[str, Any])
    for state in client.explain("papers", "a").generations:
        assert_type(state.served_version, int | None)
        assert_type(state.next_attempt_at, datetime | None)
    assert_type(client.failed("papers", limit=5), list[shoal.FailedDocument])
    assert_type(client.source_ids("papers", "/notes", after="a", limit=5), list[str])
    assert_type(client.retry_failed("papers"), int)
    client.retry_failed("papers", ["a"])


def searches(client: shoal.Client) -> None:
    token = client.upsert("papers", documents())
    result = client.search("papers", "query", k=3, token=token, include_text=True, min_coverage=0.5)
    assert_type(result[0], shoal.Hit)
    assert_type(result[:2], tuple[shoal.Hit, ...])
    assert_type(result.coverage.fresh, bool)
    for hit in result:
        assert_type(hit.score, float)
    client.search("papers", [0.1, 0.2])
    client.search("papers", like="a", include_text=True, text_characters=80)
    client.search("papers", np.zeros(3, dtype=np.float32), token=None, min_coverage=None)


def embeds(client: shoal.Client) -> None:
    answer = client.embed("m", ["a text"], role="query", prompt=None, normalize=None, vector_type="float16")
    assert_type(answer.vectors, npt.NDArray[np.float32 | np.float16])
    assert_type(answer.errors, Mapping[int, shoal.ShoalError])

    def follow(progress: shoal.EmbedProgress) -> None:
        assert_type(progress.answered, int)

    with open("texts.txt", encoding="utf-8") as texts:
        for block in client.embed_many("m", texts, truncation="refuse", dimensions=128, progress=follow):
            assert_type(block, shoal.Embeddings)


def status(client: shoal.Client) -> None:
    assert_type(client.create_key("reader", role="read", collections=["papers"]), shoal.NewApiKey)
    client.create_key("admin", role=shoal.AccessRole.ADMIN, lifetime_s=3600, timeout=5)
    assert_type(client.list_keys(), list[shoal.ApiKeyInfo])
    assert_type(client.revoke_key("0a").valid, bool)
    assert_type(client.describe().limits.documents_per_write, int)
    for process in client.status().processes:
        assert_type(process.kind, shoal.ProcessKind)
        assert_type(process.load, shoal.LoadInfo | None)
        if process.kind is shoal.ProcessKind.ENCODER and process.state is not shoal.ProcessState.READY:
            name: str = process.state
            print(name)
    assert_type(client.status().query_cache.hit_rate, float)


def connections() -> None:
    with shoal.Client("localhost:50051", timeout=5, retry=shoal.RetryPolicy(patience_s=0)) as client:
        assert_type(client, shoal.Client)
    try:
        shoal.Client().status()
    except shoal.Overloaded as error:
        assert_type(error.retry_after_s, float | None)
        assert_type(error.token, shoal.Token | None)


async def the_async_client_returns_the_same(names: AsyncIterator[str]) -> None:
    async with shoal.AsyncClient("localhost", retry=None) as client:
        assert_type(client, shoal.AsyncClient)
        assert_type(await client.create_collection("papers", model="m", metric="dot"), shoal.CollectionInfo)
        assert_type(await client.get_collection("papers"), shoal.CollectionInfo)
        assert_type(await client.list_collections(), list[shoal.CollectionInfo])
        assert_type(await client.drop_collection("papers", timeout=1), int)
        assert_type(await client.upsert("papers", documents(), wait=True), shoal.Token)
        assert_type(await client.upsert_many("papers", documents(), progress=print), shoal.UpsertSummary)
        assert_type(await client.upsert_many("papers", documents_as_they_come()), shoal.UpsertSummary)
        assert_type(await client.delete("papers", ["a"]), shoal.Token)
        assert_type(await client.get("papers", ["a"]), list[shoal.StoredDocument])
        assert_type(await client.explain("papers", "a"), shoal.Explanation)
        assert_type(await client.failed("papers"), list[shoal.FailedDocument])
        assert_type(await client.source_ids("papers", "/notes"), list[str])
        assert_type(await client.retry_failed("papers"), int)
        assert_type(await client.search("papers", [1.0, 2.0], token="1.2"), shoal.SearchResult)
        assert_type(await client.embed("m", ["a"], role="document"), shoal.Embeddings)
        async for block in client.embed_many("m", names, vector_type="float32"):
            assert_type(block, shoal.Embeddings)
        async for block in client.embed_many("m", ["a"], progress=True):
            assert_type(block.timing, shoal.EmbedTiming)
        assert_type(await client.create_key("reader", role="read"), shoal.NewApiKey)
        assert_type(await client.list_keys(), list[shoal.ApiKeyInfo])
        assert_type(await client.revoke_key("0a"), shoal.ApiKeyInfo)
        assert_type(await client.describe(), shoal.ServerInfo)
        assert_type((await client.status()).pools, tuple[shoal.PoolInfo, ...])


def former_names(worker: shoal.WorkerInfo) -> shoal.ProcessInfo:
    return worker


def records() -> None:
    fields = Fields(id="doi", text=("title", "abstract"), keep=None, vector="vector")
    for files in find_inputs(["papers/", "*.csv"]):
        assert_type(files, list[InputFile])
        for row in read_file(files[0], fields.columns()):
            if isinstance(row, BadRow):
                assert_type(row.reason, str)
            else:
                assert_type(row, Row)
                assert_type(fields.record(row.values), Record)
