"""Documents, payloads and vectors: what is refused, and the messages."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.errors import DimensionMismatch, InvalidRequest
from shoal.cluster.gateway.paths.documents_validation import WriteRules, canonical_payload, check_documents, check_vector
from shoal.cluster.limits import RequestLimits
from shoal.v1 import documents_pb2

LIMITS = RequestLimits()
WITH_MODEL = WriteRules("papers", has_model=True, dimension=3, metric="cosine", stores_empty=False)
VECTORS = WriteRules("papers", has_model=False, dimension=3, metric="dot", stores_empty=False)
KEEPS_EMPTY = WriteRules("papers", has_model=True, dimension=3, metric="cosine", stores_empty=True)


def packed(*numbers: float) -> bytes:
    return np.array(numbers, dtype="<f4").tobytes()


def document(**values: Any) -> documents_pb2.Document:
    return documents_pb2.Document(**{"id": "a", "text": "words", **values})


def refusal(
    *documents: documents_pb2.Document, rules: WriteRules = WITH_MODEL, limits: RequestLimits = LIMITS
) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_documents(documents, rules, limits)
    assert "\n" not in caught.value.message and caught.value.field
    return caught.value


def test_good_documents_give_their_payloads() -> None:
    documents = [
        document(payload='{"b": 1, "a": [null, "é"]}'),
        document(id="b", text="", vector=packed(1, 2, 3)),
        document(id="c", expected_version=0),
    ]
    assert check_documents(documents, WITH_MODEL, LIMITS) == ['{"a":[null,"é"],"b":1}', "{}", "{}"]
    assert check_documents([document(text=" ")], KEEPS_EMPTY, LIMITS) == ["{}"]


def test_limits_of_a_batch() -> None:
    assert refusal().field == "documents"
    many = refusal(*(document(id=str(n)) for n in range(3)), limits=RequestLimits(documents_per_write=2))
    assert (many.message, many.limit) == ("documents: 3 documents, the limit is 2", 2)
    twice = refusal(document(), document(id="b"), document())
    assert (twice.field, twice.value) == ("documents[2].id", "a")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"id": ""}, "documents[1].id"),
        ({"text": ""}, "documents[1].text"),
        ({"text": " \n"}, "documents[1].text"),
        ({"text": "x" * 65537}, "documents[1].text"),
        ({"vector": packed(1, 2)}, "documents[1].vector"),
        ({"vector": b"12345"}, "documents[1].vector"),
        ({"vector": packed(1, math.nan, 0)}, "documents[1].vector[1]"),
        ({"vector": packed(1, 0, -math.inf)}, "documents[1].vector[2]"),
        ({"vector": packed(0, 0, 0)}, "documents[1].vector"),
        ({"payload": "[1]"}, "documents[1].payload"),
        ({"payload": "{"}, "documents[1].payload"),
        ({"expected_version": -1}, "documents[1].expected_version"),
    ],
)
def test_a_bad_document_is_named(values: dict[str, Any], field: str) -> None:
    assert refusal(document(), document(**{"id": "b", **values})).field == field


def test_a_wrong_length_is_a_dimension_mismatch() -> None:
    error = refusal(document(vector=packed(1, 2)))
    assert isinstance(error, DimensionMismatch)
    assert error.message == "documents[0].vector: dimension 2, but collection 'papers' has dimension 3"
    assert (error.value, error.limit) == ("2", 3)


def test_without_a_model_a_vector_is_needed() -> None:
    assert refusal(document(), rules=VECTORS).field == "documents[0].vector"
    assert check_documents([document(vector=packed(0, 0, 0))], VECTORS, LIMITS) == ["{}"]


@pytest.mark.parametrize("scale", [1e-25, 1e30])
def test_vectors_whose_scores_would_not_be_numbers(scale: float) -> None:
    with pytest.raises(InvalidRequest):
        check_vector(packed(scale, scale, scale), WITH_MODEL, "vector")


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3).filter(lambda row: any(abs(x) > 1e-3 for x in row)))
def test_ordinary_vectors_pass(row: list[float]) -> None:
    check_vector(packed(*row), WITH_MODEL, "vector")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=5))
def test_payloads_keep_their_meaning_but_not_their_formatting(payload: dict[str, Any]) -> None:
    canonical = canonical_payload(json.dumps(payload, indent=2), LIMITS, "payload")
    assert json.loads(canonical) == payload
    shuffled = dict(reversed(payload.items()))
    assert canonical_payload(json.dumps(shuffled), LIMITS, "payload") == canonical


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "not valid JSON"),
        ('{"a": "\\ud800"}', "not valid JSON"),
        ('{"a": ' + "[" * 6000 + "]" * 6000 + "}", "nested too deeply"),
        ("null", "'null' is not a JSON object"),
        ('"text"', "is not a JSON object"),
        ("{'a': 1}", "not valid JSON"),
    ],
)
def test_bad_payloads(payload: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        canonical_payload(payload, LIMITS, "payload")


def test_payload_size_counts_bytes() -> None:
    limits = RequestLimits(payload_bytes=12)
    assert canonical_payload('{"a": "é"}', limits, "payload") == '{"a":"é"}'
    with pytest.raises(InvalidRequest, match="payload: 14 bytes, the limit is 12"):
        canonical_payload('{"a": "ééé"}'.replace(" ", ""), limits, "payload")
    # Short as it was sent, long as it would be stored.
    with pytest.raises(InvalidRequest, match="the limit is 12"):
        canonical_payload('{"a":1e15}', limits, "payload")
