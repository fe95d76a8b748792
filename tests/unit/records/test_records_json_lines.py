"""Faults of real JSON lines: duplicate keys, bytes that are not UTF-8, numbers that JSON lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.records import BadRow, Row, find_inputs, read_file

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def rows(path: Path, content: bytes) -> list[Row | BadRow]:
    path.write_bytes(content)
    return [row for files in find_inputs([str(path)]) for file in files for row in read_file(file)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 1, "text": "a", "text": "b"}', "a key is in an object twice: 'text'"),
        (b'{"id": 1, "more": {"x": 1, "y": 2, "x": 3}}', "a key is in an object twice: 'x'"),
        (b'{"id": "caf\xe9"}', "not UTF-8: byte 0xe9 in column 12"),
        (b"[" * 5000, "not JSON: nested too deeply"),
        (b'{"id": 1', "not JSON: Expecting ',' delimiter in column 9"),
        (b'{"id": 1} {"id": 2}', "not JSON: Extra data in column 11"),
        (b'["id", 1]', "not a JSON object"),
    ],
)
def test_a_bad_line_is_refused_alone_and_says_why(tmp_path: Path, line: bytes, reason: str):
    found = rows(tmp_path / "a.jsonl", b'{"id": 0}\n' + line + b'\n{"id": 2}\n')
    assert found == [Row(1, {"id": 0}), BadRow(2, reason), Row(3, {"id": 2})]


@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=5), st.booleans())
def test_rows_are_read_back_as_written(tmp_path_factory, values: list[dict[str, object]], ascii: bool):
    content = "".join(json.dumps(value, ensure_ascii=ascii) + "\r\n" for value in values).encode()
    found = rows(tmp_path_factory.getbasetemp() / "a.jsonl", content)
    assert found == [Row(number, value) for number, value in enumerate(values, 1)]


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b" ")), max_size=6))
def test_any_bytes_between_two_rows_keep_both(tmp_path_factory, lines: list[bytes]):
    content = b"\n".join([b'{"id": "first"}', *lines, b'{"id": "last"}'])
    found = rows(tmp_path_factory.getbasetemp() / "b.jsonl", content)
    assert found[0] == Row(1, {"id": "first"}) and found[-1] == Row(len(lines) + 2, {"id": "last"})
