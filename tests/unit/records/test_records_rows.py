from __future__ import annotations

import datetime
import gzip
import lzma
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from shoal.records import (
    BadRow,
    Fields,
    InputError,
    Row,
    find_inputs,
    first_row_fault,
    parquet_row_count,
    read_file,
    reading,
    suffix_of,
)


def rows(path: Path, columns: set[str] | None = None) -> list[Row | BadRow]:
    return [row for files in find_inputs([str(path)]) for file in files for row in read_file(file, columns)]


def test_json_lines(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\n\n{"id":\n[1]\n{"id": "\xff"}\n{"id": 2}')
    found = rows(path)
    assert [row.line for row in found] == [1, 3, 4, 5, 6]
    assert [type(row) for row in found] == [Row, BadRow, BadRow, BadRow, Row]
    assert found[0] == Row(1, {"id": 1}) and found[2] == BadRow(4, "not a JSON object")


def test_a_huge_line_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "LINE_BYTES", 100)
    for name, header in (("a.jsonl", ""), ("a.csv", "id\n")):
        path = tmp_path / name
        first, last = ('{"id": 1}', '{"id": 3}') if name.endswith("l") else ("1", "3")
        path.write_text(f"{header}{first}\n{'x' * 500}\n{last}\n")
        found = rows(path)
        assert [type(row) for row in found] == [Row, BadRow, Row], name
        assert isinstance(found[1], BadRow) and found[1].reason == "the line is longer than 100 bytes"


@pytest.mark.parametrize(("suffix", "open_packed"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_files_end_where_they_are_damaged(tmp_path: Path, suffix: str, open_packed):
    path = tmp_path / f"a.jsonl{suffix}"
    with open_packed(path, "wt") as file:
        for number in range(5000):
            file.write(f'{{"id": {number * 7919}}}\n')
    assert len(rows(path)) == 5000
    path.write_bytes(path.read_bytes()[:-10])
    *whole, last = rows(path)
    assert all(isinstance(row, Row) for row in whole)
    assert isinstance(last, BadRow) and last.line == len(whole) + 1 and "damaged or cut short" in last.reason
    path.write_bytes(b"no archive at all")
    assert [type(row) for row in rows(path)] == [BadRow]


def test_tables(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\n1,"one\nline"\n2\n\n3,"a"b\n4,\xff\n5,five\n')
    found = rows(path)
    assert found[0] == Row(3, {"id": "1", "text": "one\nline"})
    assert found[1] == BadRow(4, "wrong number of fields: 1, the header has 2")
    assert isinstance(found[2], BadRow) and found[2].line == 6 and found[2].reason.startswith("not CSV")
    # Not UTF-8: the mapping refuses it, the next row is fine.
    assert found[3] == Row(7, {"id": "4", "text": "\udcff"}) and found[4] == Row(8, {"id": "5", "text": "five"})
    path = tmp_path / "a.tsv"
    path.write_text("id\ttext\n1\ta,b\n")
    assert rows(path) == [Row(2, {"id": "1", "text": "a,b"})]


def test_records_of_the_wrong_length(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,text\n1,"two\nlines"\n2\n3,a,b\n\n4,ö\n')
    assert rows(path) == [
        Row(3, {"id": "1", "text": "two\nlines"}),
        BadRow(4, "wrong number of fields: 1, the header has 2"),
        BadRow(5, "wrong number of fields: 3, the header has 2"),
        Row(7, {"id": "4", "text": "ö"}),
    ]


def test_long_fields_and_an_open_quote(tmp_path: Path):
    path = tmp_path / "a.tsv"
    path.write_text(f"id\ttext\n1\t{'x' * 200_000}\n")
    (row,) = rows(path)
    assert isinstance(row, Row) and len(row.values["text"]) == 200_000
    path.write_text('id\ttext\n1\tfine\n2\t"open\n')
    assert rows(path) == [Row(2, {"id": "1", "text": "fine"}), BadRow(3, "not CSV: unexpected end of data")]


def test_parquet(tmp_path: Path):
    path = tmp_path / "a.parquet"
    values = {"id": [1, 2], "text": ["one", None], "at": [datetime.date(2020, 1, 2)] * 2}
    pyarrow.parquet.write_table(pyarrow.table(values), path)
    assert rows(path)[0] == Row(1, {"id": 1, "text": "one", "at": "2020-01-02"})
    assert rows(path, {"id", "other"}) == [Row(1, {"id": 1}), Row(2, {"id": 2})]
    whole = path.read_bytes()
    path.write_bytes(whole[:10] + bytes(40) + whole[50:])
    assert isinstance(rows(path)[-1], BadRow)
    path.write_bytes(b"")
    assert [type(row) for row in rows(path)] == [BadRow]


def test_parquet_values_in_terms_of_json(tmp_path: Path):
    path = tmp_path / "a.parquet"
    columns = {"id": [1, 2], "text": ["x", None], "day": [datetime.date(2020, 1, 2), None], "tags": [["a"], []]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert rows(path) == [
        Row(1, {"id": 1, "text": "x", "day": "2020-01-02", "tags": ["a"]}),
        Row(2, {"id": 2, "text": None, "day": None, "tags": []}),
    ]
    with path.open("rb") as file:
        assert parquet_row_count(file) == 2
    path.write_bytes(b"PAR1 not really")
    [bad] = rows(path)
    assert isinstance(bad, BadRow) and bad.line == 1 and "cannot be read as Parquet" in bad.reason


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=rf"^{path}: reading Parquet needs pyarrow: pip install 'shoal\[cluster\]'$"):
        rows(path)


def test_folders_of_text(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.md").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    (tmp_path / "image.png").write_bytes(b"\xff")
    assert rows(tmp_path) == [
        Row(1, {"path": "a.txt", "text": "one"}),
        Row(1, {"path": "b/two.md", "text": "two"}),
        BadRow(1, "not UTF-8 at byte 0"),
    ]
    assert rows(tmp_path / "a.txt") == [Row(1, {"path": "a.txt", "text": "one"})]


def test_a_missing_file(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.touch()
    [[file]] = find_inputs([str(path)])
    path.unlink()
    with pytest.raises(InputError, match=rf"^{path}: cannot be read: No such file or directory$"):
        list(read_file(file))


def test_the_first_readable_row_shows_missing_fields(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{\n{"id": 1}\n{"id": 2, "text": "x"}\n')
    [[file]] = find_inputs([str(path)])
    message = "no field text, content, body: name one with --text-field; the fields are id"
    assert first_row_fault(file, Fields()) == message
    path.write_text("{\n")
    assert first_row_fault(file, Fields()) == ""


def test_the_error_shows_all_fields_of_the_first_row(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1], "text": ["x"], "year": [2020]}), path)
    [[file]] = find_inputs([str(path)])
    assert first_row_fault(file, Fields(keep=("author",))) == "no field 'author'; the fields are id, text, year"


def test_a_wrong_header_is_a_fault_unless_its_columns_are_not_asked_for(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,note,note\n1,x,a,b\n")
    [[file]] = find_inputs([str(path)])
    message = "column 'note' is in the header twice: rename one, so that none of their values is lost"
    assert first_row_fault(file, Fields()) == message
    assert first_row_fault(file, Fields(keep=())) == ""


def test_text_files(tmp_path: Path):
    path = tmp_path / "a.md"
    path.write_text("hello", encoding="utf-8")
    assert rows(path) == [Row(1, {"path": "a.md", "text": "hello"})]
    path.write_bytes(b"hell\xff")
    assert rows(path) == [BadRow(1, "not UTF-8 at byte 4")]


@pytest.mark.parametrize("path", ["a.jsonl", "b.tsv.gz", "c.parquet", "d.MD.xz"])
def test_formats_are_chosen_by_file_name(path: str):
    assert suffix_of(path)


@pytest.mark.parametrize("path", ["a.json", "b", "c.parquet.gz", ".gz", "d.zip"])
def test_other_names_are_not_read(path: str):
    assert suffix_of(path) == ""
