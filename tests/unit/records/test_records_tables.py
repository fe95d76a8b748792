"""Faults of real CSV and TSV: stray and open quotes, duplicate columns, other encodings."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.records import BadRow, Row, find_inputs, read_file, tables

CELLS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


def rows(path: Path, content: str | bytes, columns: set[str] | None = None) -> list[Row | BadRow]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for files in find_inputs([str(path)]) for file in files for row in read_file(file, columns)]


def test_a_stray_quote_refuses_its_row_alone(tmp_path: Path):
    found = rows(tmp_path / "3.csv", 'id,text\n3-0,fine\n3-1,"a 3" screw"\n3-2,6" pipe\n')
    assert found == [
        Row(2, {"id": "3-0", "text": "fine"}),
        BadRow(3, "not CSV: ',' expected after '\"'"),
        Row(4, {"id": "3-2", "text": '6" pipe'}),
    ]


def test_an_open_quote_does_not_swallow_the_rows_after_it(tmp_path: Path):
    lines = [f"{number},text of {number}\n" for number in range(1000)]
    lines[10] = '10,"open\n'
    found = rows(tmp_path / "a.csv", "id,text\n" + "".join(lines))
    assert found[10] == BadRow(12, "not CSV: unexpected end of data")
    assert [row.values["id"] for row in found if isinstance(row, Row)] == [str(n) for n in range(1000) if n != 10]
    # A quote that comes later closes it, and what follows that shows it.
    lines[500] = '500,"quoted, at last"\n'
    found = rows(tmp_path / "b.csv", "id,text\n" + "".join(lines))
    assert found[10] == BadRow(12, "not CSV: ',' expected after '\"'")
    assert [row.values["id"] for row in found if isinstance(row, Row)] == [str(n) for n in range(1000) if n != 10]
    assert found[500] == Row(502, {"id": "500", "text": "quoted, at last"})


def test_pieces_of_a_broken_record_are_not_taken_for_rows(tmp_path: Path):
    found = rows(tmp_path / "a.csv", 'id,text\n1,"two\nlines, with "a quote"\n2,fine\n3,"open\n')
    assert [row.line for row in found] == [2, 3, 4, 5]
    assert found[2] == Row(4, {"id": "2", "text": "fine"})
    assert isinstance(found[1], BadRow) and found[1].reason == "not CSV: a quote within a field"


def test_a_record_of_too_many_lines_is_an_open_quote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "RECORD_LINES", 5)
    found = rows(tmp_path / "a.csv", 'id,text\n0,"a\nb\nc\nd\ne"\n1,"open\n' + "".join(f"{n},x\n" for n in range(2, 12)))
    assert found[:2] == [Row(6, {"id": "0", "text": "a\nb\nc\nd\ne"}), BadRow(7, "not CSV: a record of more than 5 lines")]
    assert [row.values["id"] for row in found[2:] if isinstance(row, Row)] == [str(number) for number in range(2, 12)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_header_with_a_column_twice_is_an_error_that_names_it(tmp_path: Path, name: str):
    content = "id,text,text\n1,a,b\n".replace(",", "\t" if name.endswith("tsv") else ",")
    message = "column 'text' is in the header twice: rename one, so that none of their values is lost"
    assert rows(tmp_path / name, content) == [BadRow(1, message)]
    # One that is not asked for loses nothing.
    assert rows(tmp_path / name, content.replace("text", "note", 2), {"id", "text"}) != [BadRow(1, message)]


def test_columns_without_a_name_are_left_out_while_they_are_empty(tmp_path: Path):
    found = rows(tmp_path / "a.csv", "id,text,,\n1,a,,\n2,b,,x\n")
    assert found == [Row(2, {"id": "1", "text": "a"}), BadRow(3, "a value is in a column without a name")]
    assert rows(tmp_path / "a.csv", ",id,text\n0,1,a\n") == [Row(2, {"": "0", "id": "1", "text": "a"})]


def test_a_header_that_cannot_be_read_is_not_replaced_by_the_next_row(tmp_path: Path):
    assert rows(tmp_path / "a.csv", 'id,"te"xt\n1,a\n') == [
        BadRow(1, "the header cannot be read: not CSV: ',' expected after '\"'")
    ]
    assert rows(tmp_path / "a.csv", b"id,te\xffxt\n1,a\n") == [
        BadRow(1, "a column's name is not valid Unicode: 'te\\udcffxt'")
    ]
    assert rows(tmp_path / "a.csv", "\n\nid,text\n1,a\n") == [Row(4, {"id": "1", "text": "a"})]
    assert rows(tmp_path / "a.csv", "") == []


def test_a_quoted_field_with_an_overlong_line_is_refused_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from shoal.records import reading

    monkeypatch.setattr(reading, "LINE_BYTES", 50)
    found = rows(tmp_path / "a.csv", f'id,text\n1,"a\n{"x" * 60}\nb"\n2,fine\n')
    assert found == [BadRow(3, "the line is longer than 50 bytes"), Row(5, {"id": "2", "text": "fine"})]


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8), st.sampled_from([",", "\t"]), st.booleans())
def test_rows_of_a_spreadsheet_are_read_back(tmp_path_factory, records, delimiter: str, quoted: bool):
    written = io.StringIO()
    style = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(written, delimiter=delimiter, quoting=style).writerows([("id", "text"), *records])
    path = tmp_path_factory.getbasetemp() / ("a.csv" if delimiter == "," else "a.tsv")
    found = rows(path, written.getvalue())
    assert [row.values for row in found if isinstance(row, Row)] == [{"id": id, "text": text} for id, text in records]


@given(st.lists(st.sampled_from(['"', ",", "\n", "a", "é", "1,x\n", '2,"y"\n', "\r\n"]), max_size=40))
def test_every_line_of_any_table_is_taken_or_refused_once(tmp_path_factory, pieces: list[str]):
    content = "id,text\n" + "".join(pieces)
    found = rows(tmp_path_factory.getbasetemp() / "any.csv", content)
    lines = [row.line for row in found]
    assert lines == sorted(set(lines)) and all(2 <= line <= content.count("\n") + 1 for line in lines)
    # A row with nothing wrong in it is never lost to its neighbours, unless a quote before it is open.
    before_quotes = content.partition('"')[0].splitlines()[1:]
    good = [line.split(",") for line in before_quotes[:-1] if line.count(",") == 1]
    assert [list(row.values.values()) for row in found if isinstance(row, Row)][: len(good)] == good
