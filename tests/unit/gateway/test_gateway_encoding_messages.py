"""Embed's options and replies: what goes to an encoder, and how its answers are put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.errors import InternalDefect
from shoal.cluster.gateway.backends.encoder_messages import check_reply, encode_request, query_answers
from shoal.cluster.gateway.paths.embed_messages import Encoding, embed_response
from shoal.cluster.gateway.paths.embedding import LEAST_PART, plan_parts
from shoal.cluster.limits import RequestLimits
from shoal.internal.v1 import encoder_pb2
from shoal.v1 import embedding_pb2
from shoal.workers.encoding.model import EncodeOptions, Role, Truncation
from shoal.workers.encoding.replica.service import MAX_PROMPT_CHARACTERS

FLOAT16 = embedding_pb2.VECTOR_TYPE_FLOAT16
FLOAT32 = embedding_pb2.VECTOR_TYPE_FLOAT32


def reply(rows: list[list[float]], *, errors: dict[int, str] | None = None, **fields: Any) -> encoder_pb2.EncodeResponse:
    matrix = np.array(rows, dtype="<f4")
    response = encoder_pb2.EncodeResponse(
        fingerprint="f", dimension=matrix.shape[1], vectors=matrix.tobytes(), tokens=range(1, len(rows) + 1), **fields
    )
    for position, error in (errors or {}).items():
        response.errors.add(position=position, error=error)
        response.tokens[position] = 0
    return response


def test_omitted_options_are_left_to_the_model() -> None:
    request = encode_request(["a"], EncodeOptions(), "f", encoder_pb2.ENCODE_PRIORITY_LIVE)
    assert not request.HasField("prompt") and not request.HasField("normalize")
    options = EncodeOptions(Role.QUERY, prompt="", dimensions=4, normalize=False, truncation=Truncation.START)
    request = encode_request(["a"], options, "f", encoder_pb2.ENCODE_PRIORITY_QUERY)
    assert request.HasField("prompt") and request.HasField("normalize") and not request.normalize
    assert (request.role, request.dimensions) == (encoder_pb2.ENCODE_ROLE_QUERY, 4)
    assert request.truncation == encoder_pb2.ENCODE_TRUNCATION_START


def test_no_prompt_that_the_gateway_lets_through_is_refused_by_an_encoder() -> None:
    assert RequestLimits().prompt_characters <= MAX_PROMPT_CHARACTERS


def test_parts_follow_one_another() -> None:
    encoding = Encoding("f")
    first = reply([[1, 2], [0, 0]], errors={1: "empty"}, tokenize_us=5, queue_us=1, infer_us=7)
    second = reply([[3, 4], [0, 0], [5, 6]], errors={1: "broken"}, tokenize_us=2, queue_us=9, infer_us=3)
    second.truncated.append(2)
    encoding.append(first)
    encoding.append(second)
    response = embed_response(encoding, FLOAT32, 20)
    assert np.frombuffer(response.vectors, "<f4").reshape(5, 2).tolist() == [[1, 2], [0, 0], [3, 4], [0, 0], [5, 6]]
    assert (list(response.tokens), list(response.truncated)) == ([1, 0, 1, 0, 3], [4])
    assert [(one.position, one.error.message) for one in response.errors] == [
        (1, "texts[1]: empty"),
        (3, "texts[3]: broken"),
    ]
    timing = response.timing
    assert (timing.total_us, timing.tokenize_us, timing.queue_us, timing.infer_us) == (20, 5, 9, 7)


def test_an_answer_of_another_model_is_a_defect() -> None:
    encoding = Encoding("f")
    encoding.append(reply([[1, 2]]))
    for wrong in (reply([[1, 2, 3]]), encoder_pb2.EncodeResponse(fingerprint="g", dimension=2)):
        with pytest.raises(InternalDefect):
            encoding.append(wrong)
    with pytest.raises(InternalDefect):
        check_reply(reply([[1, 2]]), 2)


def test_queries_are_assembled_from_cache_and_calls() -> None:
    answers = query_answers(reply([[1, 2], [0, 0], [5, 6]], errors={1: "empty"}, infer_us=4))
    response = embed_response(Encoding.of_queries("f", [answers[2], answers[1], answers[0], answers[2]]), FLOAT32, 9)
    assert np.frombuffer(response.vectors, "<f4").reshape(4, 2).tolist() == [[5, 6], [0, 0], [1, 2], [5, 6]]
    assert list(response.tokens) == [3, 0, 1, 3]
    assert [one.error.field for one in response.errors] == ["texts[1]"]
    assert (response.dimension, response.timing.infer_us) == (2, 4)


def test_a_vector_that_float16_cannot_hold_is_an_error_of_its_text() -> None:
    encoding = Encoding("f")
    encoding.append(reply([[1, 2], [70_000, 0], [3, 4]]))
    response = embed_response(encoding, FLOAT16, 1)
    assert np.frombuffer(response.vectors, "<f2").reshape(3, 2).tolist() == [[1, 2], [0, 0], [3, 4]]
    [error] = response.errors
    assert (error.position, error.error.field, error.error.value, error.error.limit) == (1, "vector_type", "70000", 65504)
    assert list(response.tokens) == [1, 0, 3]


@given(st.integers(1, 5000), st.integers(0, 20))
def test_parts_cover_every_text_once_and_are_of_similar_size(texts: int, replicas: int) -> None:
    parts = plan_parts(texts, replicas)
    assert [position for part in parts for position in range(texts)[part]] == list(range(texts))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1 and len(parts) <= max(1, replicas)
    assert len(parts) == 1 or min(sizes) >= LEAST_PART
