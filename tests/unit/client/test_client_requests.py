import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from shoal.client import Document, InvalidArgument, Token
from shoal.client._transport.requests import (
    create_collection,
    delete,
    embed,
    embed_template,
    encode_document,
    get,
    search,
    upsert,
)
from shoal.v1 import embedding_pb2


def encode(**fields: Any):
    return encode_document(Document(**{"id": "a", **fields}), "documents[3]")


def test_a_document_is_encoded_field_by_field():
    wire = encode(
        text="é", vector=np.array([1, 2.5], dtype=np.float64), payload={"year": 2020, "n": None}, expected_version=0
    )
    assert (wire.id, wire.text) == ("a", "é")
    assert wire.vector == np.array([1, 2.5], dtype="<f4").tobytes()
    assert json.loads(wire.payload) == {"year": 2020, "n": None}
    assert wire.HasField("expected_version") and wire.expected_version == 0


def test_omitted_fields_are_not_sent():
    wire = encode()
    assert not wire.HasField("expected_version")
    assert (wire.vector, wire.payload) == (b"", "")


def template(**options: Any) -> embedding_pb2.EmbedRequest:
    defaults = {"role": "query", "prompt": None, "dimensions": 0, "normalize": None}
    return embed_template("m", **{**defaults, "truncation": "end", "vector_type": "float32", **options})


@pytest.mark.parametrize("vector", [[1, 2], (1.0, 2.0), np.array([1, 2], dtype=np.float16), np.array([1, 2], dtype=">f8")])
def test_vectors_of_any_kind_become_little_endian_float32(vector: Any):
    assert encode(vector=vector).vector == b"\x00\x00\x80?\x00\x00\x00@"


def test_any_mapping_is_a_payload():
    assert encode(payload=MappingProxyType({"a": 1})).payload == '{"a":1}'


def test_not_a_number_is_left_to_the_server():
    assert np.isnan(np.frombuffer(encode(vector=[float("nan")]).vector, dtype="<f4")).all()
    assert np.isinf(np.frombuffer(encode(vector=[1e300]).vector, dtype="<f4")).all()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id": 7}, "id"),
        ({"text": b"x"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"vector": [[1.0]]}, "vector"),
        ({"vector": 1.0}, "vector"),
        ({"vector": ["x"]}, "vector"),
        ({"vector": "12"}, "vector"),
        ({"payload": [1]}, "payload"),
        ({"payload": {"a": {1, 2}}}, "payload"),
        ({"payload": {"a": float("nan")}}, "payload"),
        ({"payload": {(1, 2): 1}}, "payload"),
        ({"payload": {"a": "\udfff"}}, "payload"),
        ({"expected_version": "1"}, "expected_version"),
        ({"expected_version": True}, "expected_version"),
        ({"expected_version": 2**63}, "expected_version"),
    ],
)
def test_the_error_names_what_cannot_be_encoded_in_one_line(fields: dict[str, Any], field: str):
    with pytest.raises(InvalidArgument) as caught:
        encode(**fields)
    assert caught.value.field == f"documents[3].{field}"
    assert str(caught.value).startswith(f"documents[3].{field} ")
    assert "\n" not in str(caught.value)


def test_a_payload_that_contains_itself_is_refused():
    payload: dict[str, Any] = {}
    payload["self"] = payload
    with pytest.raises(InvalidArgument, match=r"payload is not JSON"):
        encode(payload=payload)


anything: Any = object()


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: upsert("c", Document(id="a"), False), "documents"),  # type: ignore[arg-type]
        (lambda: upsert("c", [{"id": "a"}], False), "documents[0]"),  # type: ignore[list-item]
        (lambda: delete("c", "abc", False), "ids"),
        (lambda: get("c", ["a", 1]), "ids[1]"),  # type: ignore[list-item]
        (lambda: get(anything, ["a"]), "collection"),
        (lambda: embed(template(), "abc"), "texts"),
        (lambda: template(role="both"), "role"),
        (lambda: search("c", "q", 2**31, None, False, None), "k"),
        (lambda: search("c", "q", 1.5, None, False, None), "k"),  # type: ignore[arg-type]
        (lambda: search("c", [[1.0]], 1, None, False, None), "query"),  # type: ignore[list-item]
        (lambda: search("c", "q", 1, None, False, anything), "min_coverage"),
        (lambda: create_collection("c", "m", 0, "tree", "cosine", 0, "reject"), "index"),  # type: ignore[arg-type]
        (lambda: create_collection("c", "m", 0, None, "near", 0, "reject"), "metric"),  # type: ignore[arg-type]
        (lambda: create_collection("c", "m", 0, None, "dot", 0, "keep"), "empty_text"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_cannot_be_encoded(build: Callable[[], object], field: str):
    with pytest.raises(InvalidArgument) as caught:
        build()
    assert caught.value.field == field


def test_only_a_conditional_write_is_not_repeatable():
    assert upsert("c", [Document(id="a")], False).repeatable
    assert not upsert("c", [Document(id="a"), Document(id="b", expected_version=0)], False).repeatable
    assert delete("c", ["a"], False).repeatable


def test_a_query_is_a_text_or_a_vector():
    assert search("c", "", 1, None, False, None).request.WhichOneof("query") == "text"
    call = search("c", np.ones(3), 1, Token("1.2"), True, 0.0)
    assert call.request.WhichOneof("query") == "vector"
    assert (call.request.token, call.request.include_text) == ("1.2", True)
    assert call.request.HasField("min_coverage")
