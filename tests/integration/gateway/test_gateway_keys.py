"""A gateway that needs API keys: who may call what, what a scoped key sees, and how soon a revoked key ends."""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from shoal.client import (
    AsyncClient,
    Client,
    CollectionNotFound,
    Document,
    InvalidArgument,
    KeyNotFound,
    PermissionDenied,
    Unauthenticated,
)
from shoal.client._transport.credentials import AuthorizedChannel
from shoal.client.cli import main
from shoal.cluster.decisions.access import AccessLevel
from shoal.cluster.gateway.access.method_rules import MethodRule, method_rules
from shoal.cluster.gateway.grpc import interceptors
from shoal.v1 import documents_pb2
from support.gateway.small_cluster import MODEL, SmallCluster, eventually

STREAMS = {"UpsertStream", "EmbedStream"}
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


class GuardedCluster(SmallCluster):
    """A small cluster that needs keys, and one key of each role for every collection."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, keys_required=True)
        self.texts = {role: self.new_key(role) for role in AccessLevel}

    def new_key(self, role: AccessLevel, *collections: str, lifetime_ms: int | None = None) -> str:
        made = self.coordinator.keys.create(f"tests {role.name}", role, collections or ("*",), lifetime_ms)
        return asyncio.run(made)[1]

    def client(self, key: str | None, **options: Any) -> Client:
        return Client(self.gateway.address, api_key=key, **options)

    def code(self, method: str, key: str | None, request: bytes = b"") -> grpc.StatusCode:
        """How a call ends that sends `request`."""
        channel: Any = self.channel if key is None else AuthorizedChannel(self.channel, key)
        try:
            if method.rpartition("/")[2] in STREAMS:
                list(channel.stream_stream(method)(iter([request]), timeout=10))
            else:
                channel.unary_unary(method)(request, timeout=10)
        except grpc.RpcError as error:
            failed: Any = error
            return failed.code()
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    cluster = GuardedCluster(tmp_path_factory.mktemp("guarded"))
    try:
        with cluster.client(cluster.texts[AccessLevel.ADMIN]) as admin:
            eventually(lambda: admin.status().coordinator_epoch > 0)
            for name in ("docs-1", "docs-2", "papers"):
                admin.create_collection(name, model=MODEL)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def admin(cluster: GuardedCluster) -> Iterator[Client]:
    with cluster.client(cluster.texts[AccessLevel.ADMIN]) as client:
        yield client


@pytest.mark.parametrize("method, rule", sorted(method_rules().items()), ids=lambda value: getattr(value, "name", ""))
def test_a_role_may_call_what_its_methods_say_and_nothing_else(
    cluster: GuardedCluster, method: str, rule: MethodRule
) -> None:
    wrong = "shoal_" + "0" * 12 + "_" + "0" * 64
    for key in (None, "nonsense", wrong, cluster.texts[AccessLevel.ADMIN][:-1] + "x"):
        assert cluster.code(method, key) is UNAUTHENTICATED
    for role, key in cluster.texts.items():
        code = cluster.code(method, key)
        assert code is not UNAUTHENTICATED
        assert (code is DENIED) == (role < rule.needs)


def test_nothing_of_an_unauthorized_call_is_read(cluster: GuardedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive(context: object) -> bytes:
        raise AssertionError("a message was read")

    monkeypatch.setattr(interceptors, "receive", receive)
    for method, rule in method_rules().items():
        assert cluster.code(method, None, b"x" * 1_000_000) is UNAUTHENTICATED
        if rule.needs > AccessLevel.READ:
            assert cluster.code(method, cluster.texts[AccessLevel.READ], b"x" * 1_000_000) is DENIED


def test_collections_outside_of_the_scope_are_as_if_they_did_not_exist(cluster: GuardedCluster, admin: Client) -> None:
    admin.upsert("papers", [Document("a", "text")])
    with cluster.client(cluster.new_key(AccessLevel.WRITE, "docs-*", "absent", "absent-too")) as scoped:
        assert [one.name for one in scoped.list_collections()] == ["docs-1", "docs-2"]
        status = scoped.status()
        assert [one.name for one in status.collections] == ["docs-1", "docs-2"] and not status.processes
        assert admin.status().processes

        def said(name: str) -> list[str]:
            calls = (
                lambda: scoped.get_collection(name),
                lambda: scoped.search(name, "text"),
                lambda: scoped.get(name, ["a"]),
                lambda: scoped.explain(name, "a"),
                lambda: scoped.failed(name),
                lambda: scoped.upsert(name, [Document("a", "text")]),
                lambda: scoped.upsert_many(name, [Document("a", "text")]),
                lambda: scoped.delete(name, ["a"]),
                lambda: scoped.retry_failed(name),
            )
            messages: list[str] = []
            for call in calls:
                with pytest.raises(CollectionNotFound) as caught:
                    call()
                messages.append(str(caught.value).replace(name, "NAME"))
            return messages

        # Outside of the scope and there, outside and not there, in the scope and not there.
        assert said("papers") == said("nowhere") == said("absent")
        assert scoped.upsert("docs-1", [Document("a", "text")])
    assert admin.get("papers", ["a"])[0].text == "text"


def test_an_administrator_of_some_collections_makes_no_keys_and_no_others(cluster: GuardedCluster) -> None:
    with cluster.client(cluster.new_key(AccessLevel.ADMIN, "team-*")) as scoped:
        scoped.create_collection("team-1", dimension=3)
        with pytest.raises(PermissionDenied, match="is not for a collection named 'other'"):
            scoped.create_collection("other", dimension=3)
        # The same whether the collection exists or not.
        for name in ("papers", "nowhere"):
            with pytest.raises(PermissionDenied, match=f"is not for a collection named '{name}'"):
                scoped.drop_collection(name)
        for call in (lambda: scoped.create_key("more", role="read"), scoped.list_keys, lambda: scoped.revoke_key("x")):
            with pytest.raises(PermissionDenied, match="needs an API key for every collection"):
                call()
        assert scoped.drop_collection("team-1") == 0


def test_a_revoked_key_is_refused_at_once_also_in_an_open_stream(cluster: GuardedCluster, admin: Client) -> None:
    made = admin.create_key("short-lived", role="write", collections=["docs-*"])
    channel: Any = AuthorizedChannel(cluster.channel, made.text)
    revoked = threading.Event()

    def batches() -> Iterator[bytes]:
        for sequence in range(2):
            if sequence:
                assert revoked.wait(10)
            document = documents_pb2.Document(id=f"streamed-{sequence}", text="text")
            request = documents_pb2.UpsertStreamRequest(collection="docs-2", documents=[document], sequence=sequence)
            yield request.SerializeToString()

    with cluster.client(made.text) as client:
        assert client.search("docs-1", "text") is not None
        replies = channel.stream_stream("/shoal.v1.DocumentService/UpsertStream")(batches(), timeout=20)
        next(replies)
        assert not admin.revoke_key(made.info.id).valid
        revoked.set()
        with pytest.raises(Unauthenticated, match="the API key is not valid"):
            client.search("docs-1", "text")
        with pytest.raises(grpc.RpcError) as caught:
            next(replies)
        failed: Any = caught.value
        assert failed.code() is UNAUTHENTICATED
    assert [one.id for one in admin.get("docs-2", ["streamed-0", "streamed-1"])] == ["streamed-0"]


def test_an_expired_key_is_refused(cluster: GuardedCluster, admin: Client) -> None:
    with cluster.client(cluster.new_key(AccessLevel.READ, lifetime_ms=1)) as expired:
        eventually(lambda: any(key.expires_at_ms and not key.valid for key in admin.list_keys()))
        with pytest.raises(Unauthenticated):
            expired.list_collections()


def test_keys_are_made_listed_and_revoked_by_both_clients(cluster: GuardedCluster, admin: Client) -> None:
    made = admin.create_key("reader of docs", role="read", collections=["docs-*"], lifetime_s=3600)
    assert made.info.valid and made.info.expires_at_ms == made.info.created_at_ms + 3_600_000
    assert made.info in admin.list_keys()

    async def through_the_loop() -> None:
        async with AsyncClient(cluster.gateway.address, api_key=cluster.texts[AccessLevel.ADMIN]) as client:
            second = await client.create_key("second", role="write")
            assert {second.info.id, made.info.id} <= {key.id for key in await client.list_keys()}
            assert not (await client.revoke_key(second.info.id)).valid
            with pytest.raises(KeyNotFound, match="no API key has the id 'nobody'"):
                await client.revoke_key("nobody")
        async with AsyncClient(cluster.gateway.address, api_key=made.text) as client:
            assert [one.name for one in await client.list_collections()] == ["docs-1", "docs-2"]
            with pytest.raises(PermissionDenied, match="Upsert needs the role 'write'"):
                await client.upsert("docs-1", [Document("a", "text")])
            answers = [one async for one in client.embed_many(MODEL, ["text"])]
            assert sum(len(one.vectors) for one in answers) == 1

    asyncio.run(through_the_loop())
    with pytest.raises(Unauthenticated, match="this server needs an API key, sent as 'authorization: Bearer KEY'"):
        cluster.client(None).list_collections()


@pytest.mark.parametrize(
    "bad, field",
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"collections": []}, "collections"),
        ({"collections": ["*a"]}, "collections[0]"),
        ({"collections": ["a", "b c"]}, "collections[1]"),
        ({"collections": [f"a{n}" for n in range(101)]}, "collections"),
        ({"lifetime_s": 0}, "lifetime_ms"),
        ({"lifetime_s": -1}, "lifetime_ms"),
        ({"lifetime_s": 1e13}, "lifetime_ms"),
        ({"role": "owner"}, "role"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_by_its_field(admin: Client, bad: dict[str, Any], field: str) -> None:
    before = admin.list_keys()
    given: dict[str, Any] = {"name": "n", "role": "read"} | bad
    with pytest.raises(InvalidArgument) as caught:
        admin.create_key(given.pop("name"), **given)
    assert caught.value.field == field
    assert admin.list_keys() == before


def test_the_command_line_makes_and_revokes_keys(cluster: GuardedCluster) -> None:
    def shoal(*args: str, key: str | None = cluster.texts[AccessLevel.ADMIN]) -> Any:
        variables = {"SHOAL_ADDRESS": cluster.gateway.address, "SHOAL_API_KEY": key}
        return CliRunner().invoke(main, args, env=variables)

    made = shoal("key", "create", "from the shell", "--role", "read", "--collection", "docs-1", "--expires", "90d")
    assert made.exit_code == 0 and made.stdout.startswith("shoal_") and "cannot be shown again" in made.stderr
    text = made.stdout.strip()
    id = text.split("_")[1]
    assert "docs-1" in shoal("list", key=text).stdout and "papers" not in shoal("list", key=text).stdout
    listed = [key for key in json.loads(shoal("key", "list", "--json").stdout)["keys"] if key["id"] == id]
    assert [(key["role"], key["collections"], key["valid"]) for key in listed] == [("read", ["docs-1"], True)]
    table = shoal("key", "list").stdout
    row = next(line for line in table.splitlines() if id in line)
    assert row.rstrip().endswith("valid") and "from the shell" in row and text.split("_")[2] not in table
    assert shoal("--api-key", text, "list", key=None).exit_code == 0
    assert shoal("list", "--api-key", text, key="nonsense").exit_code == 0
    assert shoal("key", "revoke", id).stdout == f"Revoked key {id} (from the shell).\n"
    for refused, message in (
        (shoal("list", key=text), "the API key is not valid"),
        (shoal("list", key=None), "this server needs an API key"),
        (shoal("list", key=" "), "api_key is empty"),
        (shoal("key", "revoke", "nobody"), "no API key has the id 'nobody'"),
    ):
        assert refused.exit_code == 1 and refused.stderr.startswith("shoal: ") and message in refused.stderr
    for expiry in ("0d", "90", "d", "-1d", "nan"):
        assert shoal("key", "create", "x", "--role", "read", "--expires", expiry).exit_code == 2
