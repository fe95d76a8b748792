"""Bad input, field by field: each error names the field, the value and the limit in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.errors import InvalidModel, InvalidRequest
from shoal.cluster.gateway.paths import validation
from shoal.cluster.limits import RequestLimits
from shoal.v1 import collections_pb2

LIMITS = RequestLimits(
    id_bytes=8, text_bytes=10, k=5, ids_per_get=3, texts_per_embed=2, dimension=16, shards=4, collection_name_bytes=6
)


def refusal(check: Callable[..., Any], *args: Any, **kwargs: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check(*args, **kwargs)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", ["a", "A-1", "0.x_y", "papers"])
def test_good_names(name: str) -> None:
    validation.check_collection_name(name, LIMITS)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "é", "a\n", "toolong"])
def test_bad_names(name: str) -> None:
    assert refusal(validation.check_collection_name, name, LIMITS, "name").field == "name"


@pytest.mark.parametrize("name", [" name", "a  b", "a\tb", "a\u200b"])
def test_a_bad_name_is_shown_as_it_was(name: str) -> None:
    error = refusal(validation.check_collection_name, name, LIMITS, "name")
    assert error.message.startswith(f"name: {name!r} is not a collection name") and error.value == name


def test_a_collection_needs_a_model_or_a_dimension() -> None:
    error = refusal(validation.check_settings, settings(), LIMITS)
    assert error.message == "settings.model: give a model, or the dimension of the documents' own vectors"
    assert "'  ' is not the name of a model" in refusal(validation.check_settings, settings(model="  "), LIMITS).message


@pytest.mark.parametrize("document_id", ["a", "é/1", "a b", "12345678"])
def test_good_ids(document_id: str) -> None:
    validation.check_id(document_id, LIMITS, "id")


@pytest.mark.parametrize("document_id", ["", "123456789", "ééééé", "a\0", "a\nb", "\x7f"])
def test_bad_ids(document_id: str) -> None:
    assert refusal(validation.check_id, document_id, LIMITS, "ids[2]").field == "ids[2]"


def test_lists_of_ids() -> None:
    validation.check_ids(["a", "b"], LIMITS)
    validation.check_ids([], LIMITS, needed=False)
    assert refusal(validation.check_ids, [], LIMITS).field == "ids"
    too_many = refusal(validation.check_ids, ["a", "b", "c", "d"], LIMITS)
    assert (too_many.value, too_many.limit) == ("4", 3)
    twice = refusal(validation.check_ids, ["a", "b", "a"], LIMITS)
    assert twice.message == "ids[2]: 'a' is a duplicate of ids[0]"


@pytest.mark.parametrize("k", [0, -1, 6])
def test_bad_k(k: int) -> None:
    error = refusal(validation.check_k, k, LIMITS)
    assert error.message == f"k: {k} is not from 1 to 5"
    assert (error.field, error.value, error.limit) == ("k", str(k), 5)


def test_good_k_and_coverage() -> None:
    for k in (1, 5):
        validation.check_k(k, LIMITS)
    for share in (0.0, 0.5, 1.0):
        validation.check_min_coverage(share)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_bad_coverage(share: float) -> None:
    assert refusal(validation.check_min_coverage, share).field == "min_coverage"


def test_texts() -> None:
    validation.check_text("0123456789", LIMITS, "text")
    validation.check_text("", LIMITS, "text")
    long = refusal(validation.check_text, "é" * 6, LIMITS, "documents[3].text")
    assert long.message == "documents[3].text: 12 bytes, the limit is 10"
    assert refusal(validation.check_text, "a\0b", LIMITS, "text").field == "text"
    assert refusal(validation.check_query_text, " \n", LIMITS).field == "text"
    assert refusal(validation.check_embed_texts, [], LIMITS).field == "texts"
    assert refusal(validation.check_embed_texts, ["a", "b", "c"], LIMITS).limit == 2
    # A text that is too long is refused alone.
    assert validation.check_embed_texts(["", "a\0b"], LIMITS) == {}
    refused = validation.check_embed_texts(["a", "é" * 6], LIMITS)
    assert {position: (error.field, error.value, error.limit) for position, error in refused.items()} == {
        1: ("texts[1]", "12", 10)
    }
    assert validation.check_embed_texts(["x" * 10, "é" * 5], LIMITS) == {}


def test_list_limits() -> None:
    assert (validation.page_limit(0, 9), validation.page_limit(7, 9), validation.page_limit(9, 9)) == (9, 7, 9)
    assert refusal(validation.page_limit, -1, 9).field == "limit"
    assert refusal(validation.page_limit, 10, 9).limit == 9


@pytest.mark.parametrize("source", ["", " ", "a\nb", "x" * 17])
def test_bad_sources(source: str) -> None:
    validation.check_source("/home/ä", LIMITS)
    validation.check_source("", LIMITS)
    assert refusal(lambda: validation.check_source(source, LIMITS, needed=True)).field == "source"


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_tokens_survive_formatting_and_parsing(collection_id: int, sequence: int) -> None:
    assert validation.parse_token(f"{collection_id}:{sequence}") == WriteToken.of(collection_id, sequence)
    assert validation.parse_token(f"{collection_id}.{sequence}") == WriteToken(collection_id, (), sequence)


@pytest.mark.parametrize("token", ["", "1", "1.", ".1", "1.2.3", "a.b", "-1.2", "1.2\n", "\uff11.\uff12", "9" * 19 + ".1"])
def test_bad_tokens(token: str) -> None:
    assert refusal(validation.parse_token, token).field == "token"


def test_tokens_belong_to_one_collection_and_to_its_past() -> None:
    for between in ".:":
        assert validation.check_token(f"7{between}5", "papers", 7, 5).newest == 5
        message = refusal(validation.check_token, f"8{between}5", "papers", 7, 5).message
        assert "does not belong to collection 'papers'" in message
        assert refusal(validation.check_token, f"7{between}6", "papers", 7, 5).limit == 5


def settings(**values: Any) -> collections_pb2.CollectionSettings:
    return collections_pb2.CollectionSettings(**values)


@pytest.mark.parametrize(
    "values", [{"model": "m"}, {"dimension": 16}, {"model": "m", "dimension": 4, "shards": 4, "index": 3}]
)
def test_good_settings(values: dict[str, Any]) -> None:
    validation.check_settings(settings(**values), LIMITS)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "settings.model"),
        ({"dimension": -1}, "settings.dimension"),
        ({"model": "m", "dimension": 17}, "settings.dimension"),
        ({"model": "m", "shards": 5}, "settings.shards"),
        ({"model": "m", "shards": -1}, "settings.shards"),
        ({"model": "m", "index": 9}, "settings.index"),
        ({"model": "m", "metric": 9}, "settings.metric"),
        ({"model": "m", "empty_text": 9}, "settings.empty_text"),
    ],
)
def test_bad_settings(values: dict[str, Any], field: str) -> None:
    assert refusal(validation.check_settings, settings(**values), LIMITS).field == field


@pytest.mark.parametrize(
    "model",
    [
        *(
            " ",
            "a\nb",
            "x" * 1025,
            "two words",
            "org/na me",
            "hashing:",
            "hashing:many",
            "hashing:-1",
        ),
        *("x" * 97, "org/", "a?b", "org/name@", "модель", "name@INT8", "org\\name"),
    ],
)
def test_bad_models(model: str) -> None:
    assert isinstance(refusal(validation.check_settings, settings(model=model), LIMITS), InvalidModel)


@pytest.mark.parametrize(
    "model",
    [
        *("all-MiniLM-L6-v2", "org/name", "org/name-v1.5_x@int8", "MiniLM@float32", "hashing", "hashing:64"),
        *(
            "/a folder/with ä",
            "./модель",
            "../up",
            "~/models/m",
            "a/b/c",
            "/x@int8",
            "hashing-like",
            "hashing:64@int8",
            "x" * 96,
        ),
    ],
)
def test_names_that_may_be_models(model: str) -> None:
    validation.check_settings(settings(model=model), LIMITS)
    validation.check_model(model, "model")


@given(st.text(max_size=40))
def test_a_name_is_accepted_or_refused_with_its_value(model: str) -> None:
    try:
        validation.check_model(model, "model")
    except InvalidModel as error:
        assert error.field == "model" and error.message.startswith("model: ") and "\n" not in error.message
