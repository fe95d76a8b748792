from __future__ import annotations

import pytest

from shoal.records import BadRecord, Fields, Record


def test_the_usual_fields():
    record = Fields().record({"_id": 7, "body": "b", "year": 2020})
    assert (record.id, record.text, record.payload) == ("7", "b", {"year": 2020})
    assert Fields().record({"id": "x", "path": "p", "text": "t"}).payload == {"path": "p"}
    assert Fields().record({"id": "x", "text": None, "content": "c"}).text == "c"


def test_a_title_is_put_before_the_text_unless_fields_are_named():
    values = {"id": "x", "title": "T", "text": "t"}
    assert Fields().record(values).text == "T t"
    assert Fields(text=("title", "text")).record(values).text == "T t"
    named = Fields(text=("text",)).record(values)
    assert (named.text, named.payload) == ("t", {"title": "T"})
    assert Fields(text=("text", "title")).record(values).text == "t T"
    assert Fields().record({"id": "x", "title": 5, "text": "t"}).payload == {"title": 5}
    assert Fields().record({"id": "x", "title": "T", "text": None}).text == "T"


@pytest.mark.parametrize("text", [(), ("title", "text"), ("text", "title")])
def test_a_title_stays_a_title(text: tuple[str, ...]):
    values = {"id": "x", "title": "T", "text": "t", "year": 2020}
    assert Fields(text=text).record(values).payload == {"title": "T", "year": 2020}
    assert Fields(text=text, keep=("year",)).record(values).payload == {"year": 2020}
    assert Fields(text=text, keep=()).record(values).payload == {}
    assert Fields(text=text).record({**values, "title": ""}).payload == {"year": 2020}
    assert Fields(id="title", text=text).record(values).payload.get("title") is None


def test_user_vectors():
    record = Fields(vector="v").record({"id": "x", "v": [1.0, 2.0]})
    assert (record.vector, record.text, record.payload) == ([1.0, 2.0], "", {})


@pytest.mark.parametrize(
    ("fields", "values", "words"),
    [
        (Fields(), {"text": "t"}, "'id' is not a valid id: None"),
        (Fields(), {"id": ""}, "'id' is not a valid id: ''"),
        (Fields(), {"id": True}, "'id' is not a valid id: True"),
        (Fields(), {"id": 1.5}, "'id' is not a valid id: 1.5"),
        (Fields(), {"id": "x", "text": 5}, "'text' is not text: 5"),
        (Fields(vector="v"), {"id": "x", "v": "1,2"}, "'v' is not a list of numbers"),
    ],
)
def test_rows_without_a_record(fields: Fields, values: dict[str, object], words: str):
    with pytest.raises(BadRecord, match=words):
        fields.record(values)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (Fields("doi"), "no field 'doi'; the fields are name, words"),
        (Fields("name", ("abstract",)), "no field 'abstract'"),
        (Fields(), "--id-field"),
        (Fields("name"), "--text-field"),
        (Fields("name", ("words",), vector="v"), "no field 'v'"),
        (Fields("name", ("words",)), ""),
    ],
)
def test_fields_missing_from_the_first_row(fields: Fields, words: str):
    missing = fields.missing({"name": 1, "words": "w"})
    assert words in missing and bool(words) == bool(missing)


def test_fields_are_kept_by_choice():
    values = {"id": 1, "text": "x", "year": 2020, "by": "me"}
    assert Fields().record(values).payload == {"year": 2020, "by": "me"}
    assert Fields(keep=("by", "text")).record(values).payload == {"by": "me", "text": "x"}
    assert Fields(keep=()).record(values).payload == {}
    assert Fields().columns() is None
    assert set(Fields("doi", ("abstract",), ("year",)).columns() or ()) == {"doi", "abstract", "year"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (Fields(), ""),
        (Fields("doi"), "no field 'doi'; the fields are id, text"),
        (Fields("", ("abstract",)), "no field 'abstract'"),
        (Fields(keep=("year",)), "no field 'year'"),
    ],
)
def test_kept_fields_missing_from_the_first_row(fields: Fields, message: str):
    found = fields.missing({"id": 1, "text": "x"})
    assert found.startswith(message) and bool(found) == bool(message)


@pytest.mark.parametrize(
    ("values", "id", "reason"),
    [
        ({"id": "a", "text": "\ud800"}, "a", "the text is not valid Unicode"),
        ({"id": "\ud800", "text": "x"}, "", "field 'id' is not valid Unicode"),
        ({"id": "a", "text": 5}, "a", "field 'text' is not text: 5"),
    ],
)
def test_a_bad_record_has_the_id_and_the_reason(values: dict[str, object], id: str, reason: str):
    with pytest.raises(BadRecord) as bad:
        Fields().record(values)
    assert (bad.value.id, bad.value.reason, str(bad.value)) == (id, reason, reason)


def test_a_vector_that_nothing_asks_for_is_payload():
    assert Fields().record({"id": 1, "text": "x", "v": [1.0]}) == Record("1", "x", {"v": [1.0]})
