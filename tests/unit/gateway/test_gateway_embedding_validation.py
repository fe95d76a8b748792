from __future__ import annotations

import numpy as np
import pytest

from shoal.cluster.decisions.admission import content_hash
from shoal.cluster.errors import DimensionMismatch, InvalidRequest
from shoal.cluster.gateway.paths.documents_validation import WriteRules, check_documents
from shoal.cluster.limits import RequestLimits
from shoal.v1 import documents_pb2

RULES = WriteRules("c", True, 3, "dot", False, fingerprint="f" * 32)


def document(text: str = "text", vector: object = (1, 2, 3), fingerprint: str = RULES.fingerprint, **more: object):
    packed = np.asarray(vector, dtype="<f4").tobytes()
    embedding = documents_pb2.Embedding(
        vector=packed, fingerprint=fingerprint, content_hash=content_hash(str(more.pop("made_of", text)), b"")
    )
    return documents_pb2.Document(id="a", text=text, embedding=embedding, **more)  # type: ignore[arg-type]


def check(one: documents_pb2.Document, rules: WriteRules = RULES) -> None:
    check_documents([one], rules, RequestLimits())


def test_a_good_one_passes():
    check(document())


@pytest.mark.parametrize(
    ("one", "rules", "field", "message"),
    [
        (document(fingerprint="0" * 32), RULES, "fingerprint", f"'{'0' * 32}', but collection 'c' has {'f' * 32}"),
        (document(fingerprint=""), RULES, "fingerprint", "'', but"),
        (document(vector=(1, float("nan"), 3)), RULES, "vector[1]", "not a finite number"),
        (document(vector=(0, 0, 0)), RULES, "vector", "zero vector"),
        (document(made_of="another"), RULES, "content_hash", "does not match the document's text"),
    ],
)
def test_a_bad_one_is_refused_by_name(one: documents_pb2.Document, rules: WriteRules, field: str, message: str):
    with pytest.raises(InvalidRequest, match=message.replace("[", r"\[")) as refusal:
        check(one, rules)
    assert refusal.value.field == f"documents[0].embedding.{field}"


def test_the_dimension_is_reported():
    with pytest.raises(DimensionMismatch) as refusal:
        check(document(vector=(1, 2)))
    assert (refusal.value.field, refusal.value.value, refusal.value.limit) == ("documents[0].embedding.vector", "2", 3)


def test_a_precomputed_vector_excludes_a_user_vector_and_needs_a_text():
    for one in (document(vector=(1, 2, 3)), document(text="")):
        if one.text:
            one.vector = np.asarray((1, 2, 3), dtype="<f4").tobytes()
        with pytest.raises(InvalidRequest) as refusal:
            check(one, WriteRules("c", True, 3, "dot", True, fingerprint="f" * 32))
        assert refusal.value.field == "documents[0].embedding"


def test_a_collection_without_a_model_takes_no_precomputed_vector():
    with pytest.raises(InvalidRequest, match="no model"):
        check(document(fingerprint=""), WriteRules("c", False, 3, "dot", False))
