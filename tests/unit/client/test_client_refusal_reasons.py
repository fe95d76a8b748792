"""The reasons why documents are refused name the field, and no position in a message, which means nothing to a user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shoal.client.cli.files.document_source import refusal_reason
from shoal.client.errors import InvalidArgument
from shoal.client.types import Refusal
from shoal.cluster.errors import InvalidRequest
from shoal.cluster.gateway.paths.documents_validation import WriteRules, check_documents
from shoal.cluster.limits import RequestLimits
from shoal.v1 import documents_pb2

LIMITS = RequestLimits(text_bytes=20, id_bytes=20, payload_bytes=40)
RULES = WriteRules("c", has_model=True, dimension=2, metric="cosine", stores_empty=False)


def packed(*numbers: float) -> bytes:
    return np.array(numbers, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 30}, "id"),
        ({"text": "x" * 30}, "text"),
        ({"text": " "}, "text"),
        ({"payload": "{"}, "payload"),
        ({"payload": "[]"}, "payload"),
        ({"payload": '{"a": "' + "x" * 60 + '"}'}, "payload"),
        ({"vector": packed(1, 2, 3)}, "vector"),
        ({"vector": packed(1, float("nan"))}, "vector"),
        ({"vector": packed(0, 0)}, "vector"),
        ({"expected_version": -1}, "expected_version"),
        ({"embedding": documents_pb2.Embedding(fingerprint="f")}, "embedding.fingerprint"),
    ],
)
def test_what_the_server_refuses(values: dict[str, Any], field: str):
    good = documents_pb2.Document(id="good", text="words")
    bad = documents_pb2.Document(**{"id": "bad", "text": "words", **values})
    with pytest.raises(InvalidRequest) as refused:
        check_documents([good, bad], RULES, LIMITS)
    assert refused.value.message.startswith("documents[1]")
    reason = refusal_reason(Refusal(1, bad.id, InvalidArgument(refused.value.message)))
    assert reason.startswith(f"{field} refused: document {bad.id!r}: ") and "documents[" not in reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "documents[191].id: 'x' is a duplicate of documents[3].id",
            "id refused: document 'x': 'x' is a duplicate of another document's id",
        ),
        ("documents[191]: 70 bytes, the limit is 60", "document refused: document 'x': 70 bytes, the limit is 60"),
        ("documents[191].vector[7]: nan is not finite", "vector refused: document 'x': at [7]: nan is not finite"),
        ("the shard of documents[191] is away", "refused: document 'x': the shard of another document is away"),
        ("the ledger is away", "refused: document 'x': the ledger is away"),
    ],
)
def test_messages_with_positions_anywhere(message: str, reason: str):
    assert refusal_reason(Refusal(191, "x", InvalidArgument(message))) == reason
