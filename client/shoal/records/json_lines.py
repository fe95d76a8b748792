"""Reads lines of JSON: an object on each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from shoal.records.decoding.lines import lines_of
from shoal.records.errors import one_line
from shoal.records.rows import BadRow, Row
from shoal.records.text_lines import not_utf8


def json_rows(chunks: Iterable[bytes], line_bytes: int) -> Iterator[Row | BadRow]:
    """The objects of UTF-8 text; blank lines are skipped. Raises what `chunks` raises."""
    for number, line in enumerate(lines_of(chunks, line_bytes), start=1):
        if line is None:
            yield BadRow(number, f"the line is longer than {line_bytes} bytes")
        elif line.strip():
            yield _row(number, line)


def _row(number: int, line: bytes) -> Row | BadRow:
    try:
        values = _parse(line.decode().rstrip())
    except UnicodeDecodeError as error:
        return BadRow(number, not_utf8(line, error))
    except _RepeatedKey as error:
        return BadRow(number, f"a key is in an object twice: {str(error)!r:.40}")
    except RecursionError:
        return BadRow(number, "not JSON: nested too deeply")
    except json.JSONDecodeError as error:
        return BadRow(number, f"not JSON: {error.msg} in column {error.pos + 1}")
    except ValueError as error:
        return BadRow(number, f"not JSON: {one_line(error)}")
    return Row(number, values) if isinstance(values, dict) else BadRow(number, "not a JSON object")


class _RepeatedKey(Exception):
    """An object has a key twice, and one of the values would be lost."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return values


_parse = json.JSONDecoder(object_pairs_hook=_object).decode
