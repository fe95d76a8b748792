from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.client._transport.requests import encode_document
from shoal.client.cli.files.mapping import FieldMapping
from shoal.client.errors import InvalidArgument
from shoal.cluster.gateway.paths.documents_validation import canonical_payload
from shoal.cluster.jobs.encode.mapping import TEXT_BYTES, BadRecord, Fields
from shoal.cluster.limits import Limits

NAMES = st.sampled_from(["id", "_id", "path", "text", "content", "body", "title", "year"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5)
ROWS = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=2), max_size=6)


@given(ROWS, st.sampled_from(["", "id", "year"]), st.sampled_from([(), ("body",), ("title", "content")]))
def test_it_makes_the_same_documents_as_shoal_add(values: dict[str, Any], id_field: str, text_fields: tuple[str, ...]):
    try:
        document = FieldMapping(id_field, text_fields).document(values)
        wire = encode_document(document, "document")
    except (ValueError, InvalidArgument):
        with pytest.raises(BadRecord):
            Fields(id_field, text_fields).record(values)
        return
    record = Fields(id_field, text_fields).record(values)
    assert (record.id, record.text) == (wire.id, wire.text)
    assert record.payload == canonical_payload(wire.payload, Limits(), "payload")


@pytest.mark.parametrize(
    ("values", "id", "told"),
    [
        ({"text": "x"}, "", "field 'id' is no id: None"),
        ({"id": True, "text": "x"}, "", "field 'id' is no id: True"),
        ({"id": "é" * 300, "text": "x"}, "é" * 40, "field 'id' has 600 bytes, the limit is 512"),
        ({"id": "a", "text": 5}, "a", "field 'text' is not text: 5"),
        ({"id": "a", "text": "\ud800"}, "a", "the text is not valid Unicode"),
        ({"id": "\ud800", "text": "x"}, "", "field 'id' is not valid Unicode"),
        (
            {"id": "a", "text": "x" * (TEXT_BYTES + 1)},
            "a",
            f"the text has {TEXT_BYTES + 1} bytes, the limit is {TEXT_BYTES}",
        ),
        ({"id": "a", "text": "x", "n": float("nan")}, "a", "the payload is no JSON object"),
        ({"id": "a", "text": "x", "n": b"bytes"}, "a", "the payload is no JSON object"),
    ],
)
def test_what_is_wrong_is_told(values: dict[str, Any], id: str, told: str):
    with pytest.raises(BadRecord) as bad:
        Fields().record(values)
    assert bad.value.id == id and told in bad.value.reason


def test_fields_are_kept_by_choice():
    values = {"id": 1, "text": "x", "year": 2020, "by": "me"}
    assert json.loads(Fields().record(values).payload) == {"year": 2020, "by": "me"}
    assert json.loads(Fields(keep=("by", "text")).record(values).payload) == {"by": "me", "text": "x"}
    assert Fields(keep=()).record(values).payload == "{}"
    assert Fields().columns() is None
    assert set(Fields("doi", ("abstract",), ("year",)).columns() or ()) == {"doi", "abstract", "year"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (Fields(), ""),
        (Fields("doi"), "no field 'doi'; the fields are id, text"),
        (Fields("", ("abstract",)), "no field 'abstract'"),
        (Fields(keep=("year",)), "no field 'year'"),
    ],
)
def test_what_a_first_row_lacks_is_told(fields: Fields, told: str):
    found = fields.missing({"id": 1, "text": "x"})
    assert found.startswith(told) and bool(found) == bool(told)
