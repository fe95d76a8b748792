import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from shoal.v1 import documents_pb2
from support.gateway.client_server import FakeGateway
from support.gateway.client_world import REFUSED


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_files_become_documents(shoal_json: Callable[..., Any], gateway: FakeGateway, tmp_path: Path):
    first = write_lines(tmp_path / "a.jsonl", *({"id": n, "title": "T", "text": f"t{n}", "year": n} for n in range(30)))
    (tmp_path / "b.csv").write_text("path,content\np,c\n")
    summary = shoal_json("add", "c", first, tmp_path / "b.csv", "--batch", 7, "--wait")
    assert (summary["written"], summary["changed"], summary["bad_rows"], summary["token"]) == (31, 31, 0, "1:1-5")
    stored = gateway.world.collections["c"].documents
    assert (stored["3"].text, json.loads(stored["3"].payload)) == ("T t3", {"title": "T", "year": 3})
    assert stored["p"].text == "c"
    assert gateway.world.batches == [[1, 2, 3, 4, 5]]
    again = shoal_json("add", "c", first)
    assert (again["written"], again["changed"]) == (30, 0)


def test_bad_rows_are_reported_by_file_and_line_and_do_not_stop_the_upload(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path
):
    path = write_lines(
        tmp_path / "a.jsonl",
        {"id": "a", "text": "x"},
        "{",
        {"id": "b", "text": 5},
        {"id": "c", "text": REFUSED},
        {"id": "d", "text": "y"},
    )
    result = shoal("add", "c", path)
    assert result.exit_code == 1
    assert result.stdout.startswith("2 documents in c, 2 of them new or changed")
    assert result.stderr.splitlines() == [
        f"{path}:2: not JSON: Expecting property name enclosed in double quotes in column 2",
        f"{path}:3: field 'text' is not text: 5",
        f"{path}:4: text refused: document 'c': 'c' is refused",
        "shoal: 3 rows were not added to c: 1 not JSON; 1 field 'text' is not text; 1 text refused",
    ]
    assert sorted(gateway.world.collections["c"].documents) == ["a", "d"]


def test_a_flood_of_bad_rows_is_counted(shoal: Callable[..., Result], tmp_path: Path):
    result = shoal("add", "c", write_lines(tmp_path / "a.jsonl", *["{"] * 500))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 22
    assert result.stderr.endswith("shoal: 500 rows were not added to c: 500 not JSON\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.jsonl"], "none.jsonl: no such file or folder"),
        (["a.jsonl", "none.jsonl"], "none.jsonl: no such file or folder"),
        (["a.jsonl", "--id-field", "doi"], "a.jsonl: no field 'doi'; the fields are id, text"),
        (["a.jsonl", "--text-field", "abstract"], "a.jsonl: no field 'abstract'"),
        (["a.jsonl", "--batch", "5000"], "batch_size 5000 is not 1 to 1000"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(
    shoal: Callable[..., Result],
    gateway: FakeGateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    words: str,
):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", {"id": "a", "text": "x"})
    result = shoal("add", "c", *args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert gateway.world.collections["c"].documents == {}


def test_a_file_without_rows_adds_nothing(shoal_json: Callable[..., Any], tmp_path: Path):
    assert shoal_json("add", "c", write_lines(tmp_path / "a.jsonl"))["written"] == 0


def test_a_file_without_read_permission(shoal: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_lines(tmp_path / "a.jsonl", {"id": "a", "text": "x"})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    result = shoal("add", "c", path)
    assert (result.exit_code, result.stderr) == (1, f"shoal: {path}: cannot be read: Permission denied\n")


def test_a_field_that_only_a_later_row_lacks_is_that_rows_fault(shoal: Callable[..., Result], tmp_path: Path):
    path = write_lines(tmp_path / "a.jsonl", {"doi": "a", "text": "x"}, {"text": "y"}, {"doi": "c", "text": "z"})
    result = shoal("add", "c", path, "--id-field", "doi")
    assert (result.exit_code, result.stdout.split(" ")[0]) == (1, "2")
    assert f"{path}:2: field 'doi' is not a valid id: None" in result.stderr


def test_a_broken_csv_record_is_one_bad_row(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\na,one\nb,"t"wo\nc,\xff\nd,four\n')
    result = shoal("add", "c", path)
    assert (result.exit_code, result.stdout.split(" ")[0]) == (1, "2")
    assert result.stderr.splitlines() == [
        f"{path}:3: not CSV: ',' expected after '\"'",
        f"{path}:4: the text is not valid Unicode",
        "shoal: 2 rows were not added to c: 1 not CSV; 1 the text is not valid Unicode",
    ]
    assert sorted(gateway.world.collections["c"].documents) == ["a", "d"]


def test_a_file_that_is_cut_short_ends_in_a_bad_row(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "text": "x"}\n')[:-8])
    result = shoal("add", "c", path, write_lines(tmp_path / "b.jsonl", {"id": "b", "text": "y"}))
    assert result.exit_code == 1
    assert f"{path}:2: the file is damaged or cut short from here on" in result.stderr
    assert sorted(gateway.world.collections["c"].documents) == ["a", "b"]


def test_folders_and_patterns_are_read_without_hidden_files(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "notes" / ".git").mkdir(parents=True)
    (tmp_path / "notes" / ".git" / "hidden.md").write_text("no")
    (tmp_path / "notes" / "a.md").write_text("one")
    (tmp_path / "notes" / "bad.md").write_bytes(b"\xff")
    write_lines(tmp_path / "x1.jsonl", {"id": "x1", "text": "x"})
    monkeypatch.chdir(tmp_path)
    result = shoal("add", "c", "notes", "x?.jsonl")
    assert sorted(gateway.world.collections["c"].documents) == ["a.md", "x1"]
    note, bad, _ = result.stderr.splitlines()
    assert note.startswith("note: 1 hidden file was left out, such as ") and bad == "notes/bad.md:1: not UTF-8 at byte 0"


def test_bad_rows_come_in_order_whoever_refuses_them_and_are_kept(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path
):
    first = write_lines(tmp_path / "b.jsonl", *({"id": n, "text": REFUSED if n % 7 == 0 else "x"} for n in range(14)), "{")
    second = write_lines(tmp_path / "a.jsonl", "[", {"id": "z", "text": REFUSED}, {"id": "", "text": "x"})
    rejects = tmp_path / "rejects.jsonl"
    result = shoal("add", "c", first, second, "--batch", 3, "--rejects", rejects)
    locations = [f"{first}:1:", f"{first}:8:", f"{first}:15:", f"{second}:1:", f"{second}:2:", f"{second}:3:", "shoal:"]
    assert [line.split(" ")[0] for line in result.stderr.splitlines()] == locations
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [f"{row['source']}:{row['line']}:" for row in kept] == locations[:-1]
    assert kept[1] == {"source": str(first), "line": 8, "id": "7", "reason": "text refused: document '7': '7' is refused"}
    assert result.stderr.endswith("3 text refused; 2 not JSON; 1 field 'id' is not a valid id\n")
    shoal("add", "c", write_lines(tmp_path / "good.jsonl", {"id": "g", "text": "x"}), "--rejects", rejects)
    assert rejects.read_text() == ""


def test_reasons_are_counted_in_json(shoal_json: Callable[..., Any], tmp_path: Path):
    path = write_lines(tmp_path / "a.jsonl", "{", "{", {"id": 1, "text": " "}, {"id": 2, "text": "x"})
    summary = shoal_json("add", "c", path, exit_code=1)
    assert (summary["written"], summary["bad_rows"]) == (1, 3)
    assert summary["reasons"] == {"not JSON": 2, "text is empty or only whitespace": 1}


def test_the_same_id_twice_in_one_run_is_said(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path):
    path = write_lines(
        tmp_path / "a.jsonl", {"id": "x", "text": "old"}, {"id": "y", "text": "y"}, {"id": "x", "text": "new"}
    )
    result = shoal("add", "c", path)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"note: {path}:3: id 'x' replaces the row at {path}:1",
        "note: 1 row had the id of an earlier row and replaced it",
    ]
    assert gateway.world.collections["c"].documents["x"].text == "new"


def test_only_the_columns_that_are_asked_for_become_payload(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path
):
    (tmp_path / "a.csv").write_text("id,text,year,by\n1,one,2020,me\n")
    stored = gateway.world.collections["c"].documents
    assert shoal("add", "c", tmp_path / "a.csv", "--keep", "year").exit_code == 0
    assert json.loads(stored["1"].payload) == {"year": "2020"}
    assert shoal("add", "c", tmp_path / "a.csv", "--no-payload").exit_code == 0
    assert json.loads(stored["1"].payload or "{}") == {}
    result = shoal("add", "c", tmp_path / "a.csv", "--keep", "author")
    assert (result.exit_code, result.stderr) == (
        1,
        f"shoal: {tmp_path}/a.csv: no field 'author'; the fields are id, text, year, by\n",
    )
    assert shoal("add", "c", tmp_path / "a.csv", "--keep", "year", "--no-payload").exit_code == 2


def test_standard_input_in_several_formats(shoal: Callable[..., Result], gateway: FakeGateway):
    stored = gateway.world.collections["c"].documents
    result = shoal("add", "c", "-", input='{"id": "a", "text": "one"}\n{\n')
    assert (result.exit_code, sorted(stored)) == (1, ["a"])
    assert result.stderr.startswith("-:2: not JSON: ")
    assert shoal("add", "c", "-", "--format", "csv", input="id,text\nb,two\n").exit_code == 0
    assert shoal("add", "c", "-", "--format", "tsv", input="id\ttext\nc,d\tthree\n").exit_code == 0
    assert sorted(stored) == ["a", "b", "c,d"]
    result = shoal("add", "c", "-", "--id-field", "doi", input='{"id": "e", "text": "one"}\n')
    assert (result.exit_code, result.stderr) == (1, "shoal: -: no field 'doi'; the fields are id, text\n")
    assert sorted(stored) == ["a", "b", "c,d"]


def test_a_folder_of_json_lines_and_a_quoted_pattern(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_lines(tmp_path / "in" / "a.jsonl", {"id": "a", "text": "one"})
    write_lines(tmp_path / "in" / "deep" / "b.jsonl", {"id": "b", "text": "two"})
    monkeypatch.chdir(tmp_path)
    stored = gateway.world.collections["c"].documents
    assert shoal("add", "c", "in").exit_code == 0 and sorted(stored) == ["a", "b"]
    stored.clear()
    assert shoal("add", "c", "in/**/b*.jsonl").exit_code == 0 and sorted(stored) == ["b"]
    stored.clear()
    assert shoal("add", "c", "in/?.jsonl").exit_code == 0 and sorted(stored) == ["a"]


@pytest.mark.parametrize("command", ["add", "--json"])
def test_a_document_that_cannot_be_embedded_is_said_after_a_wait(
    command: str, shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path
):
    reason = "the model's table has none of the text's words"
    gateway.world.collections["c"].failed = [documents_pb2.FailedDocument(id="b", version=1, reason=reason, attempts=1)]
    path = write_lines(tmp_path / "a.jsonl", *({"id": one, "text": one} for one in "abc"))
    done = shoal("add", "c", path, "--wait", *(["--json"] if command == "--json" else []))
    assert done.exit_code == 1
    assert f"document 'b' cannot be embedded: {reason}" in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == f"shoal: 1 document cannot be embedded: {reason}"
    if command == "--json":
        result = json.loads(done.stdout)
        assert (result["searchable"], result["failed"]) == (2, 1)
        assert result["failures"] == [{"id": "b", "reason": reason}]
    else:
        assert "3 documents in c, 3 of them new or changed, 2 searchable, 1 failed; " in done.stdout
    assert shoal("add", "c", path).exit_code == 0, "without a wait it is not known yet"
