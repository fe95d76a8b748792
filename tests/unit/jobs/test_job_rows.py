from __future__ import annotations

import datetime
import gzip
import lzma
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from shoal.cluster.jobs.encode import rows as rows_module
from shoal.cluster.jobs.encode.inputs import CountedStream, open_input
from shoal.cluster.jobs.encode.rows import BadRow, Row, read_rows, suffix_of


def rows(path: Path, columns: set[str] | None = None) -> list[Row | BadRow]:
    seekable = path.suffix == ".parquet"
    with open_input(str(path), seekable) as opened:
        return list(read_rows(opened if seekable else CountedStream(opened), path.name, columns))


def test_json_lines(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\n\n{"id":\n[1]\n{"id": "\xff"}\n{"id": 2}')
    found = rows(path)
    assert [row.line for row in found] == [1, 3, 4, 5, 6]
    assert [type(row) for row in found] == [Row, BadRow, BadRow, BadRow, Row]
    assert found[0] == Row(1, {"id": 1}) and found[2] == BadRow(4, "not a JSON object")


def test_a_huge_line_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows_module, "LINE_BYTES", 100)
    for name, header in (("a.jsonl", ""), ("a.csv", "id\n")):
        path = tmp_path / name
        first, last = ('{"id": 1}', '{"id": 3}') if name.endswith("l") else ("1", "3")
        path.write_text(f"{header}{first}\n{'x' * 500}\n{last}\n")
        found = rows(path)
        assert [type(row) for row in found] == [Row, BadRow, Row], name
        assert isinstance(found[1], BadRow) and found[1].reason == "the line is longer than 100 bytes"


@pytest.mark.parametrize(("suffix", "open_packed"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_packed_files_end_where_they_are_damaged(tmp_path: Path, suffix: str, open_packed):
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
    assert found[1] == BadRow(4, "1 fields, the header has 2")
    assert isinstance(found[2], BadRow) and found[2].line == 6 and found[2].reason.startswith("not CSV")
    # Not UTF-8: the mapping refuses it, the next row is fine.
    assert found[3] == Row(7, {"id": "4", "text": "\udcff"}) and found[4] == Row(8, {"id": "5", "text": "five"})
    path = tmp_path / "a.tsv"
    path.write_text("id\ttext\n1\ta,b\n")
    assert rows(path) == [Row(2, {"id": "1", "text": "a,b"})]


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


def test_text_files(tmp_path: Path):
    path = tmp_path / "a.md"
    path.write_text("hello", encoding="utf-8")
    assert rows(path) == [Row(1, {"path": "a.md", "text": "hello"})]
    path.write_bytes(b"hell\xff")
    assert rows(path) == [BadRow(1, "not UTF-8 at byte 4")]


@pytest.mark.parametrize("path", ["a.jsonl", "b.tsv.gz", "c.parquet", "d.MD.xz"])
def test_formats_are_told_by_the_name(path: str):
    assert suffix_of(path)


@pytest.mark.parametrize("path", ["a.json", "b", "c.parquet.gz", ".gz", "d.zip"])
def test_other_names_are_not_read(path: str):
    assert suffix_of(path) == ""
