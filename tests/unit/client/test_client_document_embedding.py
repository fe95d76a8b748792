import numpy as np
import pytest

from shoal.client import Document, Embedding, InvalidArgument
from shoal.client._transport.requests import encode_document


def test_the_vector_is_sent_with_the_document():
    given = Embedding(np.array([1, 2], dtype=np.float16), "f", b"h" * 32, truncated=True)
    wire = encode_document(Document("a", "text", embedding=given), "documents[0]")
    assert np.frombuffer(wire.embedding.vector, "<f4").tolist() == [1.0, 2.0]
    assert (wire.embedding.fingerprint, wire.embedding.content_hash, wire.embedding.truncated) == ("f", b"h" * 32, True)
    assert not encode_document(Document("a", "text"), "documents[0]").HasField("embedding")


def test_the_error_names_what_cannot_be_sent():
    with pytest.raises(InvalidArgument, match=r"documents\[0\]\.embedding must be an Embedding, not list"):
        encode_document(Document("a", "text", embedding=[1.0]), "documents[0]")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"documents\[0\]\.embedding\.vector must have one dimension"):
        encode_document(Document("a", "text", embedding=Embedding([[1.0]], "f", b"")), "documents[0]")  # type: ignore[list-item]
