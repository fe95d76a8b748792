"""Every kind of bad input, through a real cluster: refused in one line with field, value and limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from shoal.client import (
    Client,
    CollectionNotFound,
    DeadlineExceeded,
    DimensionMismatch,
    Document,
    InvalidArgument,
    InvalidModel,
    MessageTooLarge,
    ShoalError,
)
from shoal.client.errors import error_from_status
from shoal.v1 import documents_pb2, documents_pb2_grpc
from support.cluster_process import ClusterProcess, shoal

pytestmark = pytest.mark.cluster

NAME = "input"
DIMENSION = 16
TEXTS = ["red fish", "blue fish", "green bird"]


@pytest.fixture(scope="module", autouse=True)
def collection(client: Client) -> Iterator[None]:
    """A collection with three documents, which no refused input may change."""
    client.create_collection(NAME, model=f"hashing:{DIMENSION}", shards=2)
    client.upsert(NAME, [Document(text.split()[0], text) for text in TEXTS], wait=True)
    yield
    assert client.get_collection(NAME).documents == len(TEXTS)


def check_error(error: ShoalError, *parts: str) -> None:
    """Checks that the error is one line and contains all of these."""
    message = str(error)
    assert "\n" not in message
    for part in parts:
        assert part in message


def refused_command(cluster: ClusterProcess, *arguments: str) -> str:
    """Runs a command that must fail with exit code 1; returns its one line."""
    ended = shoal("--address", cluster.address, *arguments)
    assert ended.returncode == 1, ended
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


def test_empty_id(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document("good", "a text"), Document("", "a text")])
    check_error(caught.value, "documents[1].id", "must not be empty")
    assert caught.value.field == "documents[1].id"
    assert client.get(NAME, ["good"]) == []


def test_too_long_id(client: Client) -> None:
    limit = client.describe().limits.id_bytes
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document("x" * (limit + 1), "a text")])
    check_error(caught.value, "documents[0].id", str(limit + 1), str(limit))


def test_duplicate_ids_in_a_batch(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document("one", "a"), Document("two", "b"), Document("one", "c")])
    check_error(caught.value, "documents[2].id", "'one'", "documents[0].id")


def test_empty_text_is_refused_by_default(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document("empty", "")])
    check_error(caught.value, "documents[0].text", "'empty'")


def test_empty_text_is_stored_where_the_collection_says_so(client: Client) -> None:
    client.create_collection("with-empty", model=f"hashing:{DIMENSION}", empty_text="store")
    token = client.upsert("with-empty", [Document("empty", "", payload={"kept": True}), Document("full", "text")], wait=True)
    assert [document.payload for document in client.get("with-empty", ["empty"])] == [{"kept": True}]
    answer = client.search("with-empty", "text", token=token)
    assert [hit.id for hit in answer] == ["full"]
    assert answer.coverage.fresh and answer.coverage.failed == 0
    # It becomes searchable as soon as it has a text.
    token = client.upsert("with-empty", [Document("empty", "words at last")])
    assert client.search("with-empty", "words at last", k=1, token=token)[0].id == "empty"
    client.drop_collection("with-empty")


def test_text_of_100_kb(client: Client) -> None:
    limit = client.describe().limits.text_bytes
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document("long", "x" * 100_000)])
    check_error(caught.value, "documents[0].text", "100000", str(limit))
    assert (caught.value.value, caught.value.limit) == ("100000", limit)


def test_text_over_the_models_length_is_cut_and_the_hit_says_so(client: Client) -> None:
    client.create_collection("long-texts", model=f"hashing:{DIMENSION}")
    beginning = " ".join(f"word{number}" for number in range(512))
    token = client.upsert("long-texts", [Document("long", f"{beginning} and more"), Document("short", "brief")])
    truncated = {hit.id: hit.truncated for hit in client.search("long-texts", beginning, token=token)}
    assert truncated == {"long": True, "short": False}
    assert client.search("long-texts", beginning)[0].score == pytest.approx(1.0, abs=1e-4)
    client.drop_collection("long-texts")


@pytest.mark.parametrize("size", [0, DIMENSION - 1, DIMENSION + 1])
def test_wrong_vector_size_in_a_search(client: Client, size: int) -> None:
    with pytest.raises(DimensionMismatch) as caught:
        client.search(NAME, np.ones(size))
    check_error(caught.value, "vector", f"dimension {size}, but", str(DIMENSION))


def test_wrong_vector_size_in_a_document(client: Client) -> None:
    with pytest.raises(DimensionMismatch) as caught:
        client.upsert(NAME, [Document("one", vector=np.ones(DIMENSION + 1))])
    check_error(caught.value, "documents[0].vector", str(DIMENSION + 1), str(DIMENSION))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_vector_that_is_not_finite(client: Client, bad: float) -> None:
    vector = np.ones(DIMENSION)
    vector[3] = bad
    with pytest.raises(InvalidArgument) as caught:
        client.search(NAME, vector)
    check_error(caught.value, "vector[3]", f"{bad:g}", "finite")
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document("one", vector=vector)])
    check_error(caught.value, "documents[0].vector[3]", f"{bad:g}", "finite")


def test_zero_vector_with_cosine(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.search(NAME, np.zeros(DIMENSION))
    check_error(caught.value, "vector", "zero", "cosine")


def test_k_of_0(client: Client) -> None:
    limit = client.describe().limits.k
    with pytest.raises(InvalidArgument) as caught:
        client.search(NAME, "fish", k=0)
    check_error(caught.value, "k: 0", str(limit))


def test_k_over_the_limit(client: Client) -> None:
    limit = client.describe().limits.k
    with pytest.raises(InvalidArgument) as caught:
        client.search(NAME, "fish", k=limit + 1)
    check_error(caught.value, f"k: {limit + 1}", str(limit))
    assert caught.value.limit == limit


def test_k_over_the_number_of_documents(client: Client) -> None:
    answer = client.search(NAME, "fish", k=500)
    assert sorted(hit.id for hit in answer) == ["blue", "green", "red"]
    assert answer.coverage.fresh and answer.coverage.complete


def test_unknown_collection(client: Client) -> None:
    with pytest.raises(CollectionNotFound) as caught:
        client.search("nowhere", "fish")
    check_error(caught.value, "'nowhere'")
    with pytest.raises(CollectionNotFound):
        client.upsert("nowhere", [Document("one", "a text")])


@pytest.mark.parametrize("payload", ["[1, 2]", '"text"', "7", "null", "{broken", '{"a": NaN}'])
def test_payload_that_is_not_an_object(cluster: ClusterProcess, client: Client, payload: str) -> None:
    # The client sends objects only, so this comes from another one.
    request = documents_pb2.UpsertRequest(
        collection=NAME, documents=[documents_pb2.Document(id="one", text="a text", payload=payload)]
    )
    with grpc.insecure_channel(cluster.address) as channel, pytest.raises(grpc.RpcError) as raised:
        documents_pb2_grpc.DocumentServiceStub(channel).Upsert(request, timeout=30)
    failure = raised.value
    assert isinstance(failure, grpc.Call)
    error = error_from_status(failure.code(), failure.details() or "", failure.trailing_metadata(), cluster.address)
    assert type(error) is InvalidArgument
    check_error(error, "documents[0].payload", "JSON")
    assert client.get(NAME, ["one"]) == []


def test_message_over_the_size_limit(client: Client) -> None:
    limits = client.describe().limits
    text = "x " * (limits.text_bytes // 2)
    documents = [Document(str(number), text) for number in range(limits.message_bytes // limits.text_bytes + 1)]
    with pytest.raises(MessageTooLarge) as caught:
        client.upsert(NAME, documents)
    check_error(caught.value, str(limits.message_bytes))


def test_too_many_documents_in_a_batch(client: Client) -> None:
    limit = client.describe().limits.documents_per_write
    with pytest.raises(InvalidArgument) as caught:
        client.upsert(NAME, [Document(str(number), "text") for number in range(limit + 1)])
    check_error(caught.value, "documents", str(limit + 1), str(limit))


def test_deadline_of_1_ms(client: Client) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        client.search(NAME, "fish", timeout=0.001)
    check_error(caught.value)
    assert len(client.search(NAME, "fish")) == len(TEXTS)


def test_token_of_an_unknown_form(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.search(NAME, "fish", token="yesterday")
    check_error(caught.value, "token", "'yesterday'")


def test_wrong_model_path(client: Client, tmp_path: Path) -> None:
    missing = str(tmp_path / "no-model")
    with pytest.raises(InvalidModel) as caught:
        client.create_collection("never", model=missing)
    check_error(caught.value, missing)
    with pytest.raises(CollectionNotFound):
        client.get_collection("never")


def test_command_with_k_of_0(cluster: ClusterProcess) -> None:
    ended = shoal("--address", cluster.address, "search", NAME, "fish", "-k", "0")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == "shoal: Invalid value for '-k' / '--k': 0 is not in the range x>=1."


def test_command_with_an_unknown_collection(cluster: ClusterProcess) -> None:
    assert refused_command(cluster, "search", "nowhere", "fish") == "shoal: no collection is named 'nowhere'"


def test_command_with_a_wrong_model_path(cluster: ClusterProcess, tmp_path: Path) -> None:
    missing = str(tmp_path / "no-model")
    assert missing in refused_command(cluster, "create", "never", "--model", missing)


def test_command_that_adds_bad_rows(cluster: ClusterProcess, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "", "text": "no id"}\n{"id": "empty", "text": ""}\n', encoding="utf-8")
    ended = shoal("--address", cluster.address, "add", NAME, str(rows))
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{rows}:1", f"{rows}:2", "shoal"]
    assert "2 rows" in lines[2]
