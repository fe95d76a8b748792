"""Brings the fields of a payload into the form of JSON. No I/O."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 100
"""Levels of lists and objects in a field."""


class BadPayload(ValueError):
    """A field has no form in JSON; the message is the reason and names the field."""


def json_payload(fields: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields in terms of JSON, and the names of those in which NaN or an infinity, which JSON lacks, became null.

    Binary values become base64. Raises BadPayload.
    """
    nulls: list[str] = []
    payload = {}
    for name, value in fields.items():
        if not is_unicode(name):
            raise BadPayload(f"a field's name is not valid Unicode: {name!a:.40}")
        count = len(nulls)
        payload[name] = _json(value, name, nulls, 0)
        del nulls[count + 1 :]
    return payload, tuple(nulls)


def is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8; what stood there in other bytes came as lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(value: Any, field: str, nulls: list[str], depth: int) -> Any:
    if isinstance(value, str):
        if not is_unicode(value):
            raise BadPayload(f"field {field!r} is not valid Unicode")
        return value
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        nulls.append(field)
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if not isinstance(value, Mapping | list):
        raise BadPayload(f"field {field!r} has no form in JSON: it holds {type(value).__name__}")
    if depth == MAX_DEPTH:
        raise BadPayload(f"field {field!r} is nested too deeply: more than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_json(item, field, nulls, depth + 1) for item in value]
    if not all(is_unicode(key) for key in value):
        raise BadPayload(f"field {field!r} is not valid Unicode")
    return {key: _json(item, field, nulls, depth + 1) for key, item in value.items()}
