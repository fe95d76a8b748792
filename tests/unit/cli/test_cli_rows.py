import datetime
import gzip
import lzma
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from shoal.client.cli.failure import Failure
from shoal.client.cli.files.mapping import FieldMapping
from shoal.client.cli.files.rows import BadRow, Row, reader_of


def rows(path: Path) -> list[Row | BadRow]:
    return list(reader_of(path)(path))


def test_json_lines(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n\n{"id":\n[1]\n{"id": "\xff"}\n{"id": 2}')
    found = rows(path)
    assert [row.line for row in found] == [1, 3, 4, 5, 6]
    assert [type(row) for row in found] == [Row, BadRow, BadRow, BadRow, Row]
    assert found[0] == Row(1, {"id": 1}) and found[2] == BadRow(4, "not a JSON object")


@pytest.mark.parametrize(("suffix", "open_packed"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_packed_files_and_damaged_ones(tmp_path: Path, suffix: str, open_packed):
    path = tmp_path / f"a.jsonl{suffix}"
    with open_packed(path, "wt") as file:
        file.write('{"id": 1}\n' * 5000)
    assert len(rows(path)) == 5000
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Failure, match="damaged or cut short"):
        rows(path)
    path.write_bytes(b"no archive at all")
    with pytest.raises(Failure, match="damaged or cut short"):
        rows(path)


def test_csv(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,text\n1,"two\nlines"\n2\n3,a,b\n\n4,ö\n')
    assert rows(path) == [
        Row(3, {"id": "1", "text": "two\nlines"}),
        BadRow(4, "1 fields, the header has 2"),
        BadRow(5, "3 fields, the header has 2"),
        Row(7, {"id": "4", "text": "ö"}),
    ]


def test_tsv_long_fields_and_wrong_encoding(tmp_path: Path):
    path = tmp_path / "a.tsv"
    path.write_text(f"id\ttext\n1\t{'x' * 200_000}\n")
    (row,) = rows(path)
    assert isinstance(row, Row) and len(row.values["text"]) == 200_000
    path.write_bytes(b"id\ttext\n1\t\xe9\n")
    with pytest.raises(Failure, match="not UTF-8"):
        rows(path)
    path.write_text('id\ttext\n1\t"open\n')
    with pytest.raises(Failure, match="unexpected end of data"):
        rows(path)


def test_parquet(tmp_path: Path):
    path = tmp_path / "a.parquet"
    columns = {"id": [1, 2], "text": ["x", None], "day": [datetime.date(2020, 1, 2), None], "tags": [["a"], []]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert rows(path) == [
        Row(1, {"id": 1, "text": "x", "day": "2020-01-02", "tags": ["a"]}),
        Row(2, {"id": 2, "text": None, "day": None, "tags": []}),
    ]
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(Failure, match="cannot be read as Parquet"):
        rows(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    path = tmp_path / "a.parquet"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Failure, match=r"pip install 'shoal\[cluster\]'"):
        rows(path)


def test_folders_of_text(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.md").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    (tmp_path / "image.png").write_bytes(b"\xff")
    found = rows(tmp_path)
    assert found[0] == Row(1, {"path": "a.txt", "text": "one"})
    assert found[1] == Row(2, {"path": "b/two.md", "text": "two"})
    assert isinstance(found[2], BadRow) and "bad.txt: not UTF-8" in found[2].reason
    assert rows(tmp_path / "a.txt") == [Row(1, {"path": "a.txt", "text": "one"})]


@pytest.mark.parametrize(("name", "words"), [("none.csv", "no such file"), ("a.docx", "not a .jsonl"), ("empty", "no .txt")])
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, name: str, words: str):
    (tmp_path / "a.docx").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match=words):
        rows(tmp_path / name)


def test_the_usual_fields():
    document = FieldMapping().document({"_id": 7, "body": "b", "year": 2020})
    assert (document.id, document.text, document.payload) == ("7", "b", {"year": 2020})
    assert FieldMapping().document({"id": "x", "path": "p", "text": "t"}).payload == {"path": "p"}
    assert FieldMapping().document({"id": "x", "text": None, "content": "c"}).text == "c"


def test_a_title_stands_before_the_text_unless_fields_are_named():
    values = {"id": "x", "title": "T", "text": "t"}
    assert FieldMapping().document(values).text == "T t"
    named = FieldMapping(text_fields=("text",)).document(values)
    assert (named.text, named.payload) == ("t", {"title": "T"})
    assert FieldMapping(text_fields=("text", "title")).document(values).text == "t T"
    assert FieldMapping().document({"id": "x", "title": 5, "text": "t"}).payload == {"title": 5}
    assert FieldMapping().document({"id": "x", "title": "T", "text": None}).text == "T"


def test_vectors_of_ones_own():
    document = FieldMapping(vector_field="v").document({"id": "x", "v": [1.0, 2.0]})
    assert (document.vector, document.text, document.payload) == ([1.0, 2.0], "", {})


@pytest.mark.parametrize(
    ("mapping", "values", "words"),
    [
        (FieldMapping(), {"text": "t"}, "'id' is no id: None"),
        (FieldMapping(), {"id": ""}, "'id' is no id: ''"),
        (FieldMapping(), {"id": True}, "'id' is no id: True"),
        (FieldMapping(), {"id": 1.5}, "'id' is no id: 1.5"),
        (FieldMapping(), {"id": "x", "text": 5}, "'text' is not text: 5"),
        (FieldMapping(vector_field="v"), {"id": "x", "v": "1,2"}, "'v' is not a list of numbers"),
    ],
)
def test_rows_that_are_no_documents(mapping: FieldMapping, values: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        mapping.document(values)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (FieldMapping("doi"), "no field 'doi'; the fields are name, words"),
        (FieldMapping("name", ("abstract",)), "no field 'abstract'"),
        (FieldMapping(), "--id-field"),
        (FieldMapping("name"), "--text-field"),
        (FieldMapping("name", ("words",), "v"), "no field 'v'"),
        (FieldMapping("name", ("words",)), ""),
    ],
)
def test_what_a_first_row_lacks(mapping: FieldMapping, words: str):
    missing = mapping.missing({"name": 1, "words": "w"})
    assert words in missing and bool(words) == bool(missing)
