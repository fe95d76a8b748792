from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.client._transport.requests import encode_document
from shoal.client.errors import InvalidArgument
from shoal.client.types import Document
from shoal.cluster.gateway.paths.documents_validation import canonical_payload
from shoal.cluster.jobs.encode.input_record import TEXT_BYTES, InputRecord, input_record
from shoal.cluster.limits import RequestLimits
from shoal.records import USUAL_FIELDS, BadRecord, Fields, RecordLimits, check_record

NAMES = st.sampled_from(["id", "_id", "path", "text", "content", "body", "title", "year"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5)
ROWS = st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=2), max_size=6)


def converted(values: dict[str, Any], fields: Fields = USUAL_FIELDS) -> InputRecord:
    return input_record(fields.record(values))


@given(ROWS, st.sampled_from(["", "id", "year"]), st.sampled_from([(), ("body",), ("title", "content")]))
def test_it_makes_the_same_documents_as_shoal_add(values: dict[str, Any], id_field: str, text_fields: tuple[str, ...]):
    fields = Fields(id_field, text_fields)
    try:
        record = fields.record(values)
        check_record(record, RecordLimits(512, 65536, 32768))
        wire = encode_document(Document(record.id, record.text, payload=record.payload), "document")
    except (ValueError, InvalidArgument):
        with pytest.raises(BadRecord):
            converted(values, fields)
        return
    same = converted(values, fields)
    assert (same.id, same.text) == (wire.id, wire.text)
    assert same.payload == canonical_payload(wire.payload, RequestLimits(), "payload")


@pytest.mark.parametrize(
    ("values", "id", "message"),
    [
        ({"text": "x"}, "", "field 'id' is not a valid id: None"),
        ({"id": True, "text": "x"}, "", "field 'id' is not a valid id: True"),
        ({"id": "é" * 300, "text": "x"}, "é" * 40, "the id is too long: 600 bytes, the limit is 512"),
        ({"id": "a", "text": 5}, "a", "field 'text' is not text: 5"),
        ({"id": "a", "text": "\ud800"}, "a", "the text is not valid Unicode"),
        ({"id": "\ud800", "text": "x"}, "", "field 'id' is not valid Unicode"),
        (
            {"id": "a", "text": "x" * (TEXT_BYTES + 1)},
            "a",
            f"the text is too long: {TEXT_BYTES + 1} bytes, the limit is {TEXT_BYTES}",
        ),
        ({"id": "a", "text": "x", "n": object()}, "a", "field 'n' has no form in JSON: it holds object"),
        ({"id": "a", "text": "x", "n": ["\udcff"]}, "a", "field 'n' is not valid Unicode"),
    ],
)
def test_errors_are_reported(values: dict[str, Any], id: str, message: str):
    with pytest.raises(BadRecord) as bad:
        converted(values)
    assert bad.value.id == id and message in bad.value.reason


def test_a_payload_has_one_form():
    values = {"id": 1, "text": "x", "year": 2020, "by": "mé"}
    assert converted(values).payload == '{"by":"mé","year":2020}'
    assert converted(values, Fields(keep=())).payload == "{}"
