"""One suite over both clients: vectors of few texts, and of many."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from shoal.client import DeadlineExceeded, InvalidArgument, InvalidModel
from shoal.v1 import errors_pb2
from support.gateway.client_server import FakeGateway


def test_embeddings_are_a_matrix(client: Any, gateway: FakeGateway):
    embeddings = client.embed("m", ["four", "", "x" * 120], role="query")
    assert embeddings.vectors.dtype == np.float32 and embeddings.vectors.flags.writeable
    assert embeddings.vectors.tolist() == [[4, 2, 0.5], [0, 0, 0], [120, 2, 0.5]]
    assert embeddings.tokens.tolist() == [4, 0, 99] and len(embeddings) == 3
    assert embeddings.truncated == (2,)
    assert {position: type(error) for position, error in embeddings.errors.items()} == {1: InvalidArgument}
    timing = embeddings.timing
    assert (timing.total_s, timing.tokenize_s, timing.queue_s, timing.infer_s) == (0.004, 0.0005, 0.001, 0.002)
    assert client.embed("m", []).vectors.shape == (0, 3)
    sent = gateway.embedding.requests[0]
    assert not sent.HasField("prompt") and not sent.HasField("normalize")


def test_options_of_an_embedding_are_sent(client: Any, gateway: FakeGateway):
    options = {"prompt": "", "dimensions": 8, "normalize": False, "truncation": "refuse", "vector_type": "float16"}
    assert client.embed("m", ["a"], **options).vectors.dtype == np.float16
    assert [one.vectors.dtype for one in client.embed_many("m", ["a"], role="query", **options)] == [np.float16]
    for sent, role in zip(gateway.embedding.requests, (1, 2), strict=True):
        assert (sent.model, sent.role, sent.dimensions, sent.truncation, sent.vector_type) == ("m", role, 8, 3, 2)
        assert sent.HasField("prompt") and sent.prompt == "" and sent.HasField("normalize") and not sent.normalize
    for wrong in ({"truncation": "middle"}, {"dimensions": "8"}, {"normalize": 1}, {"role": "x"}, {"vector_type": "int8"}):
        with pytest.raises(InvalidArgument) as caught:
            client.embed("m", ["a"], **wrong)
        assert [caught.value.field] == list(wrong)


def texts(count: int) -> list[str]:
    return ["x" * (1 + number % 50) for number in range(count)]


def lengths(blocks: list[Any]) -> list[int]:
    return [int(row[0]) for block in blocks for row in block.vectors]


def test_many_texts_come_back_in_their_order(client: Any, gateway: FakeGateway):
    reported: list[Any] = []
    gateway.world.in_pairs = True
    blocks = list(client.embed_many("m", iter(texts(95)), batch_size=10, progress=reported.append))
    assert [block.start for block in blocks] == list(range(0, 95, 10))
    assert lengths(blocks) == [len(text) for text in texts(95)]
    assert [len(request.texts) for request in gateway.embedding.requests] == [10] * 9 + [5]
    assert (reported[-1].sent, reported[-1].answered, reported[-1].failed) == (95, 95, 0)
    assert reported[-1].tokens == sum(lengths(blocks))
    gateway.world.in_pairs = False
    assert list(client.embed_many("m", [])) == []


def test_a_bad_text_among_many_is_reported_with_its_index(client: Any, gateway: FakeGateway):
    bad: list[Any] = ["a", 7, "", "\ud800", "y" * (1 << 20), "z" * (1 + (1 << 20)), "b"]
    blocks = list(client.embed_many("m", bad, batch_size=4))
    errors = {block.start + position: str(error) for block in blocks for position, error in block.errors.items()}
    assert sorted(errors) == [1, 2, 3, 5]
    assert errors[1] == "texts[1] must be a str, not int" and "lone surrogate" in errors[3]
    assert errors[5] == "texts[5]: 1048577 bytes, the limit is 1048576"
    assert lengths(blocks) == [1, 0, 0, 0, 1 << 20, 0, 1]


def test_many_texts_resume_after_their_stream_broke(client: Any, gateway: FakeGateway):
    gateway.world.break_after = [3, 0, 2]
    blocks = list(client.embed_many("m", texts(100), batch_size=10))
    assert lengths(blocks) == [len(text) for text in texts(100)]
    assert [block.start for block in blocks] == list(range(0, 100, 10))
    # Each new stream begins with the first unanswered batch.
    assert [stream[0] for stream in gateway.world.batches if stream] == [0, 3, 3, 5]


def test_a_request_refused_for_lack_of_room_is_resent_alone(client: Any, gateway: FakeGateway):
    full = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_OVERLOADED, message="full", retry_after_ms=20)
    gateway.world.batch_errors = [full, full]
    assert lengths(list(client.embed_many("m", texts(30), batch_size=10))) == [len(text) for text in texts(30)]
    [stream] = gateway.world.batches
    assert len(stream) == 5 and set(stream) == {0, 1, 2}


def test_many_texts_end_with_an_error_that_a_retry_cannot_fix(client: Any, gateway: FakeGateway):
    refused = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_INVALID_MODEL, message="no such model", field="model")
    gateway.world.batch_errors = [refused]
    with pytest.raises(InvalidModel, match="no such model"):
        list(client.embed_many("m", texts(30), batch_size=10))
    gateway.world.batch_replies = threading.Semaphore(0)
    with pytest.raises(DeadlineExceeded, match=r"no answer from .* for 0\.3 s"):
        list(client.embed_many("m", texts(30), batch_size=10, timeout=0.3))
    for wrong in ({"batch_size": 0}, {"batch_size": 257}, {"window": 0}):
        with pytest.raises(InvalidArgument) as caught:
            list(client.embed_many("m", ["a"], **wrong))
        assert [caught.value.field] == list(wrong)
    with pytest.raises(InvalidArgument, match="not one str"):
        client.embed_many("m", "abc")


def test_a_caller_may_stop_in_the_middle(client: Any, gateway: FakeGateway):
    answers = client.embed_many("m", texts(1000), batch_size=10)
    assert next(answers).start == 0
    answers.close()
    assert client.embed("m", ["four"]).tokens.tolist() == [4]
