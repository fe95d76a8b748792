"""Turns a row into a document: which field is the id, which are the text, and what is left for the payload. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shoal.client.types import Document

ID_FIELDS = ("id", "_id", "path")
TEXT_FIELDS = ("text", "content", "body")
TITLE_FIELD = "title"


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Which fields of a row make a document. Empty fields are looked for under the usual names."""

    id_field: str = ""
    text_fields: tuple[str, ...] = ()
    """Joined with a blank. If empty: the first of text, content and body, after the title if there is one."""
    vector_field: str = ""

    def missing(self, values: Mapping[str, Any]) -> str:
        """What a first row lacks for this mapping, in words; empty when it lacks nothing."""
        has = f"the fields are {', '.join(values) or 'none'}"
        for field in (self.id_field, *self.text_fields, self.vector_field):
            if field and field not in values:
                return f"no field {field!r}; {has}"
        if not self.id_field and not any(field in values for field in ID_FIELDS):
            return f"no field {', '.join(ID_FIELDS)}: name one with --id-field; {has}"
        if not self.text_fields and not self.vector_field and not any(field in values for field in TEXT_FIELDS):
            return f"no field {', '.join(TEXT_FIELDS)}: name one with --text-field; {has}"
        return ""

    def document(self, values: Mapping[str, Any]) -> Document:
        """The document of a row; raises ValueError, saying why, when there is none in it."""
        id_field = self.id_field or next((field for field in ID_FIELDS if values.get(field) is not None), ID_FIELDS[0])
        id = values.get(id_field)
        if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
            raise ValueError(f"field {id_field!r} is no id: {id!r:.40}")
        text_fields = self.text_fields or self._usual_text_fields(values)
        texts = [values[field] for field in text_fields if values.get(field) is not None]
        for field in text_fields:
            if not isinstance(values.get(field), str | None):
                raise ValueError(f"field {field!r} is not text: {values[field]!r:.40}")
        vector = None
        if self.vector_field:
            vector = values.get(self.vector_field)
            if not isinstance(vector, list):
                raise ValueError(f"field {self.vector_field!r} is not a list of numbers: {vector!r:.40}")
        used = {id_field, self.vector_field, *text_fields}
        payload = {name: value for name, value in values.items() if name not in used}
        return Document(id=str(id), text=" ".join(text for text in texts if text), vector=vector, payload=payload)

    def _usual_text_fields(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        text_field = next((field for field in TEXT_FIELDS if values.get(field) is not None), None)
        # A title that is no text is left to the payload: nobody asked for it here.
        title = (TITLE_FIELD,) if isinstance(values.get(TITLE_FIELD), str) else ()
        return (*title, *((text_field,) if text_field else ()))
