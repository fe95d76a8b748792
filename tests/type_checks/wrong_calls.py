"""Calls of the client that type checkers refuse, one on each line. Read by pyright, never run.

The comment of a line names the rule that it must break. Pyright reports a comment that suppresses nothing, so a call that
it begins to accept fails `make check`.
"""
# pyright: standard, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from shoal import client as shoal
from shoal.records import BadRow, Fields, InputFile, Row, find_inputs, read_file

DOCUMENT = shoal.Document("a")


def connections() -> None:
    shoal.Client(50051)  # pyright: ignore[reportArgumentType]
    shoal.Client("localhost", 30.0)  # pyright: ignore[reportCallIssue]
    shoal.Client("localhost", timeout="30")  # pyright: ignore[reportArgumentType]
    shoal.Client("localhost", timeout=None)  # pyright: ignore[reportArgumentType]
    shoal.Client("localhost", retry=3)  # pyright: ignore[reportArgumentType]
    shoal.RetryPolicy(patience_s="3 s")  # pyright: ignore[reportArgumentType]


def collections(client: shoal.Client) -> None:
    client.create_collection()  # pyright: ignore[reportCallIssue]
    client.create_collection("papers", "all-MiniLM-L6-v2")  # pyright: ignore[reportCallIssue]
    client.create_collection("papers", model=None)  # pyright: ignore[reportArgumentType]
    client.create_collection("papers", dimension="384")  # pyright: ignore[reportArgumentType]
    client.create_collection("papers", index="tree")  # pyright: ignore[reportArgumentType]
    client.create_collection("papers", metric="euclidean")  # pyright: ignore[reportArgumentType]
    client.create_collection("papers", metric=None)  # pyright: ignore[reportArgumentType]
    client.create_collection("papers", empty_text="drop")  # pyright: ignore[reportArgumentType]
    client.create_collection("papers", replicas=2)  # pyright: ignore[reportCallIssue]
    client.drop_collection("papers", wait=True)  # pyright: ignore[reportCallIssue]
    _ = client.get_collection("papers").missing  # pyright: ignore[reportAttributeAccessIssue]


def documents() -> None:
    shoal.Document()  # pyright: ignore[reportCallIssue]
    shoal.Document(1)  # pyright: ignore[reportArgumentType]
    shoal.Document("a", text=None)  # pyright: ignore[reportArgumentType]
    shoal.Document("a", vector="0.5 1.0")  # pyright: ignore[reportArgumentType]
    shoal.Document("a", payload="{}")  # pyright: ignore[reportArgumentType]
    shoal.Document("a", expected_version="1")  # pyright: ignore[reportArgumentType]
    shoal.Document("a", embedding=[0.5])  # pyright: ignore[reportArgumentType]
    shoal.Embedding([0.5], "fingerprint")  # pyright: ignore[reportCallIssue]
    shoal.Embedding([0.5], "fingerprint", "hash")  # pyright: ignore[reportArgumentType]
    DOCUMENT.text = "another"  # pyright: ignore[reportAttributeAccessIssue]


def writes(client: shoal.Client, later: AsyncIterator[shoal.Document]) -> None:
    client.upsert("papers", DOCUMENT)  # pyright: ignore[reportArgumentType]
    client.upsert("papers", ["a"])  # pyright: ignore[reportArgumentType]
    client.upsert("papers", [{"id": "a"}])  # pyright: ignore[reportArgumentType]
    client.upsert("papers", [DOCUMENT], True)  # pyright: ignore[reportCallIssue]
    client.upsert_many("papers", later)  # pyright: ignore[reportArgumentType]
    client.upsert_many("papers", [DOCUMENT], batch_size="10")  # pyright: ignore[reportArgumentType]
    client.upsert_many("papers", [DOCUMENT], progress="bar")  # pyright: ignore[reportArgumentType]
    client.upsert_many("papers", [DOCUMENT], progress=lambda: None)  # pyright: ignore[reportArgumentType]
    _ = client.upsert_many("papers", [DOCUMENT]).token.results  # pyright: ignore[reportOptionalMemberAccess]
    client.delete("papers", [1])  # pyright: ignore[reportArgumentType]
    client.delete("papers", {"a"})  # pyright: ignore[reportArgumentType]


def reads(client: shoal.Client) -> None:
    client.get("papers")  # pyright: ignore[reportCallIssue]
    client.get("papers", [1])  # pyright: ignore[reportArgumentType]
    client.explain("papers", ["a"])  # pyright: ignore[reportArgumentType]
    client.failed("papers", limit=None)  # pyright: ignore[reportArgumentType]
    client.source_ids("papers")  # pyright: ignore[reportCallIssue]
    client.retry_failed("papers", ids=None)  # pyright: ignore[reportArgumentType]
    _ = client.explain("papers", "a").generations[0].served_version + 1  # pyright: ignore[reportOptionalOperand]


def searches(client: shoal.Client) -> None:
    client.search("papers", like=1)  # pyright: ignore[reportArgumentType]
    client.search("papers", 1.0)  # pyright: ignore[reportArgumentType]
    client.search("papers", ["a", "b"])  # pyright: ignore[reportArgumentType]
    client.search("papers", "query", 10)  # pyright: ignore[reportCallIssue]
    client.search("papers", "query", k="10")  # pyright: ignore[reportArgumentType]
    client.search("papers", "query", token=1)  # pyright: ignore[reportArgumentType]
    client.search("papers", "query", filter={"year": 2020})  # pyright: ignore[reportCallIssue]
    _ = client.search("papers", "query").results  # pyright: ignore[reportAttributeAccessIssue]


def embeds(client: shoal.Client) -> None:
    client.embed("m", [b"bytes"])  # pyright: ignore[reportArgumentType]
    client.embed("m", (text for text in "ab"))  # pyright: ignore[reportArgumentType]
    client.embed("m", ["a"], role="title")  # pyright: ignore[reportArgumentType]
    client.embed("m", ["a"], truncation="middle")  # pyright: ignore[reportArgumentType]
    client.embed("m", ["a"], vector_type="int8")  # pyright: ignore[reportArgumentType]
    client.embed("m", ["a"], vector_type=np.float16)  # pyright: ignore[reportArgumentType]
    client.embed("m", ["a"], dimensions=None)  # pyright: ignore[reportArgumentType]
    client.embed("m", ["a"], window=2)  # pyright: ignore[reportCallIssue]
    client.embed_many("m", [b"bytes"])  # pyright: ignore[reportArgumentType]
    _ = client.embed_many("m", ["a"]).vectors  # pyright: ignore[reportAttributeAccessIssue]


def status(client: shoal.Client, process: shoal.ProcessInfo, error: shoal.ShoalError) -> None:
    client.status(5.0)  # pyright: ignore[reportCallIssue]
    client.create_key("reader")  # pyright: ignore[reportCallIssue]
    client.list_keys("papers")  # pyright: ignore[reportCallIssue]
    client.revoke_key(7)  # pyright: ignore[reportArgumentType]
    client.describe(timeout="5")  # pyright: ignore[reportArgumentType]
    client.list_collections("papers")  # pyright: ignore[reportCallIssue]
    _ = process.load.busy  # pyright: ignore[reportOptionalMemberAccess]
    process.restarts = 0  # pyright: ignore[reportAttributeAccessIssue]
    _ = process.kind is shoal.ProcessKind.WORKER  # pyright: ignore[reportAttributeAccessIssue]
    _ = error.token.results  # pyright: ignore[reportOptionalMemberAccess]
    _ = error.retry_after_s + 1  # pyright: ignore[reportOptionalOperand]


async def the_async_client_refuses_the_same(client: shoal.AsyncClient) -> None:
    shoal.AsyncClient(50051)  # pyright: ignore[reportArgumentType]
    client.search("papers", "query")  # pyright: ignore[reportUnusedCoroutine]
    _ = client.search("papers", "query").hits  # pyright: ignore[reportAttributeAccessIssue]
    await client.create_collection("papers", metric="euclidean")  # pyright: ignore[reportArgumentType]
    await client.get_collection(1)  # pyright: ignore[reportArgumentType]
    await client.list_collections("papers")  # pyright: ignore[reportCallIssue]
    await client.drop_collection("papers", wait=True)  # pyright: ignore[reportCallIssue]
    await client.upsert("papers", DOCUMENT)  # pyright: ignore[reportArgumentType]
    await client.upsert_many("papers", ["a"])  # pyright: ignore[reportArgumentType]
    await client.delete("papers", [1])  # pyright: ignore[reportArgumentType]
    await client.get("papers")  # pyright: ignore[reportCallIssue]
    await client.explain("papers", ["a"])  # pyright: ignore[reportArgumentType]
    await client.failed("papers", limit=None)  # pyright: ignore[reportArgumentType]
    await client.source_ids("papers")  # pyright: ignore[reportCallIssue]
    await client.retry_failed("papers", ids=None)  # pyright: ignore[reportArgumentType]
    await client.search("papers", "query", 10)  # pyright: ignore[reportCallIssue]
    await client.embed("m", ["a"], role="title")  # pyright: ignore[reportArgumentType]
    await client.create_key("reader")  # pyright: ignore[reportCallIssue]
    await client.list_keys("papers")  # pyright: ignore[reportCallIssue]
    await client.revoke_key(7)  # pyright: ignore[reportArgumentType]
    await client.describe(timeout="5")  # pyright: ignore[reportArgumentType]
    await client.status(5.0)  # pyright: ignore[reportCallIssue]
    await client.embed_many("m", ["a"])  # pyright: ignore[reportGeneralTypeIssues]
    with client:  # pyright: ignore[reportGeneralTypeIssues]
        pass


def records(file: InputFile) -> None:
    Fields("doi", "title")  # pyright: ignore[reportArgumentType]
    find_inputs(1)  # pyright: ignore[reportArgumentType]
    read_file("papers.csv")  # pyright: ignore[reportArgumentType]
    BadRow(1)  # pyright: ignore[reportCallIssue]
    Row("1", {})  # pyright: ignore[reportArgumentType]
    _ = next(read_file(file)).values  # pyright: ignore[reportAttributeAccessIssue]
