"""Turns a row into a record to encode: its id, its text, and what is left for the payload. No I/O.

The usual names and what they mean are those of `shoal add`, so that both make the same documents of the same file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from shoal.cluster.jobs.encode.errors import one_line
from shoal.cluster.limits import Limits

ID_FIELDS = ("id", "_id", "path")
TEXT_FIELDS = ("text", "content", "body")
TITLE_FIELD = "title"

ID_BYTES = Limits().id_bytes
TEXT_BYTES = 1024 * 1024
"""Longest text; no model reads nearly as much, and it is kept in memory whole."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row as it will be encoded and kept."""

    id: str
    text: str
    payload: str
    """A canonical JSON object."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a row make a record. Empty ones are looked for under the usual names."""

    id: str = ""
    text: tuple[str, ...] = ()
    """Joined with a blank. If empty: the first of text, content and body, after the title if there is one."""
    keep: tuple[str, ...] | None = None
    """Fields of the payload; None keeps all that are neither id nor text."""

    def columns(self) -> Collection[str] | None:
        """Every field that can be of use; None when any can."""
        if self.keep is None:
            return None
        return {*(self.text or (*TEXT_FIELDS, TITLE_FIELD)), *((self.id,) if self.id else ID_FIELDS), *self.keep}

    def missing(self, values: Mapping[str, Any]) -> str:
        """What a first row lacks, in words; empty when it lacks nothing."""
        has = f"the fields are {', '.join(values) or 'none'}"
        for field in (self.id, *self.text, *(self.keep or ())):
            if field and field not in values:
                return f"no field {field!r}; {has}"
        if not self.id and not any(field in values for field in ID_FIELDS):
            return f"no field {', '.join(ID_FIELDS)}: name one with --id-field; {has}"
        if not self.text and not any(field in values for field in TEXT_FIELDS):
            return f"no field {', '.join(TEXT_FIELDS)}: name one with --text-field; {has}"
        return ""

    def record(self, values: Mapping[str, Any]) -> Record:
        """The record of a row; raises BadRecord, saying why, when there is none in it."""
        id_field = self.id or next((field for field in ID_FIELDS if values.get(field) is not None), ID_FIELDS[0])
        value = values.get(id_field)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise BadRecord("", f"field {id_field!r} is no id: {value!r:.40}")
        record_id = str(value)
        try:
            id_bytes = len(record_id.encode())
        except UnicodeEncodeError:
            raise BadRecord("", f"field {id_field!r} is not valid Unicode") from None
        if id_bytes > ID_BYTES:
            raise BadRecord(record_id[:40], f"field {id_field!r} has {id_bytes} bytes, the limit is {ID_BYTES}")
        text_fields = self.text or self._usual_text_fields(values)
        for field in text_fields:
            if not isinstance(values.get(field), str | None):
                raise BadRecord(record_id, f"field {field!r} is not text: {values[field]!r:.40}")
        text = " ".join(values[field] for field in text_fields if values.get(field))
        try:
            text_bytes = len(text.encode())
        except UnicodeEncodeError:
            raise BadRecord(record_id, "the text is not valid Unicode") from None
        if text_bytes > TEXT_BYTES:
            raise BadRecord(record_id, f"the text has {text_bytes} bytes, the limit is {TEXT_BYTES}")
        return Record(record_id, text, self._payload(record_id, values, {id_field, *text_fields}))

    def _payload(self, record_id: str, values: Mapping[str, Any], used: Collection[str]) -> str:
        if self.keep is None:
            kept = {name: value for name, value in values.items() if name not in used}
        else:
            kept = {name: values[name] for name in self.keep if name in values}
        if not kept:
            return "{}"
        try:
            payload = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            payload.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRecord(record_id, f"the payload is no JSON object: {one_line(error)}") from None
        return payload

    def _usual_text_fields(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        text_field = next((field for field in TEXT_FIELDS if values.get(field) is not None), None)
        # A title that is no text is left to the payload: nobody asked for it here.
        title = (TITLE_FIELD,) if isinstance(values.get(TITLE_FIELD), str) else ()
        return (*title, *((text_field,) if text_field else ()))


USUAL_FIELDS = Fields()


class BadRecord(Exception):
    """A row of which no record can be made: its id, if it has one, and the reason."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id = id
        self.reason = reason
