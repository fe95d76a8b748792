"""Turns a row into a record: one field is the id, some are the text, the others are the payload. Does no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from shoal.records.payloads import BadPayload, is_unicode, json_payload

ID_FIELDS = ("id", "_id", "path")
TEXT_FIELDS = ("text", "content", "body")
TITLE_FIELD = "title"


@dataclass(frozen=True, slots=True)
class Record:
    """The document in a row. Id and text are valid Unicode, the payload has JSON types."""

    id: str
    text: str
    payload: dict[str, Any] = field(default_factory=dict)
    vector: list[Any] | None = None
    """The values of the vector field, unchecked; None if there is no vector field."""
    nulls: tuple[str, ...] = ()
    """Fields of the payload in which NaN or an infinity became null."""


class BadRecord(ValueError):
    """A row that is not a valid record: its id, "" if the id is invalid, and the reason."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class TextFields:
    """Which fields of a row make its text."""

    names: tuple[str, ...] = ()
    """Joined with a space. If empty: the first of text, content and body, after the title if there is one."""

    def columns(self) -> Collection[str]:
        """All fields that may be used."""
        return self.names or (*TEXT_FIELDS, TITLE_FIELD)

    def missing(self, values: Mapping[str, Any]) -> str:
        """What a row lacks, in words; empty if it lacks nothing."""
        for name in self.names:
            if name not in values:
                return _lacks(repr(name), values)
        if not self.names and not any(name in values for name in TEXT_FIELDS):
            return _lacks(f"{', '.join(TEXT_FIELDS)}: name one with --text-field", values)
        return ""

    def used(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields that make the text of this row."""
        if self.names:
            return self.names
        text_field = next((name for name in TEXT_FIELDS if values.get(name) is not None), None)
        # A title that is not text goes to the payload: the user did not ask for it as text.
        title = (TITLE_FIELD,) if isinstance(values.get(TITLE_FIELD), str) else ()
        return (*title, *((text_field,) if text_field else ()))

    def text(self, values: Mapping[str, Any], id: str = "") -> str:
        """The text of a row; raises BadRecord, with the `id`, if it is not text."""
        used = self.used(values)
        for name in used:
            if not isinstance(values.get(name), str | None):
                raise BadRecord(id, f"field {name!r} is not text: {values[name]!r:.40}")
        text = " ".join(values[name] for name in used if values.get(name))
        if not is_unicode(text):
            raise BadRecord(id, "the text is not valid Unicode")
        return text


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a row make a record. If a field is not given, its usual names are tried."""

    id: str = ""
    text: tuple[str, ...] = ()
    """See `TextFields`."""
    keep: tuple[str, ...] | None = None
    """Fields of the payload; None keeps all but those of the id, the text and the vector, and the title in any case."""
    vector: str = ""
    """If empty, records have no vector."""

    def columns(self) -> Collection[str] | None:
        """All fields that a record may use; None for any."""
        if self.keep is None:
            return None
        named = {self.vector} if self.vector else set()
        return {*TextFields(self.text).columns(), *((self.id,) if self.id else ID_FIELDS), *self.keep, *named}

    def missing(self, values: Mapping[str, Any]) -> str:
        """What the first row of a file lacks, in words; empty if it lacks nothing."""
        for name in (self.id, *self.text, self.vector, *(self.keep or ())):
            if name and name not in values:
                return _lacks(repr(name), values)
        if not self.id and not any(name in values for name in ID_FIELDS):
            return _lacks(f"{', '.join(ID_FIELDS)}: name one with --id-field", values)
        return "" if self.vector else TextFields(self.text).missing(values)

    def record(self, values: Mapping[str, Any]) -> Record:
        """The record of a row; raises BadRecord with the reason if it is not a valid record."""
        id_field = self.id or next((name for name in ID_FIELDS if values.get(name) is not None), ID_FIELDS[0])
        value = values.get(id_field)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise BadRecord("", f"field {id_field!r} is not a valid id: {value!r:.40}")
        record_id = str(value)
        if not is_unicode(record_id):
            raise BadRecord("", f"field {id_field!r} is not valid Unicode")
        text_fields = TextFields(self.text)
        text = text_fields.text(values, record_id)
        vector = values.get(self.vector) if self.vector else None
        if self.vector and not isinstance(vector, list):
            raise BadRecord(record_id, f"field {self.vector!r} is not a list of numbers: {vector!r:.40}")
        try:
            used = {id_field, self.vector, *text_fields.used(values)}
            payload, nulls = json_payload(self._payload(values, used, id_field))
        except BadPayload as error:
            raise BadRecord(record_id, str(error)) from None
        return Record(record_id, text, payload, vector, nulls)

    def _payload(self, values: Mapping[str, Any], used: Collection[str], id_field: str) -> dict[str, Any]:
        if self.keep is None:
            # A title that is a part of the text is still what people call the document.
            shown = {TITLE_FIELD} if values.get(TITLE_FIELD) and id_field != TITLE_FIELD else set[str]()
            return {name: value for name, value in values.items() if name not in used or name in shown}
        return {name: values[name] for name in self.keep if name in values}


def _lacks(what: str, values: Mapping[str, Any]) -> str:
    return f"no field {what}; the fields are {', '.join(values) or 'none'}"


USUAL_FIELDS = Fields()
