from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from shoal.cluster.jobs.encode import reading
from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.parts import plan_splits
from shoal.cluster.jobs.encode.reading import check_first_row, read_split
from shoal.records import Fields, InputFile, find_inputs


def lines(*rows: object) -> str:
    return "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


def files(*paths: Path) -> list[InputFile]:
    return [file for found in find_inputs([str(path) for path in paths]) for file in found]


def test_good_and_bad_rows_are_cut_into_parts_with_their_locations(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(lines({"id": 1, "text": "one"}, "oops\n", {"id": 3, "text": "three"}))
    (tmp_path / "b.jsonl").write_text(lines({"text": "no id"}, {"id": 5, "text": "five", "n": 1}))
    [split] = plan_splits(files(tmp_path))
    parts = list(read_split(split, Fields(), part_rows=2))
    assert [(part.id.index, part.last) for part in parts] == [(0, False), (1, False), (2, True)]
    assert [[record.id for _, record in part.records] for part in parts] == [["1"], ["3"], ["5"]]
    bad_rows = [(Path(position.source).name, bad.line, bad.reason) for part in parts for position, bad in part.bad]
    assert [one[:2] for one in bad_rows] == [("a.jsonl", 2), ("b.jsonl", 1)] and "not a valid id" in bad_rows[1][2]
    assert sum(part.input_bytes for part in parts) == sum(file.bytes for file in split.files)
    assert list(read_split(split, Fields(), part_rows=2)) == parts


def test_a_part_closes_at_its_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "PART_BYTES", 1000)
    (tmp_path / "a.jsonl").write_text(lines(*({"id": number, "text": "x" * 400} for number in range(5))))
    [split] = plan_splits(files(tmp_path))
    assert [len(part.records) for part in read_split(split, Fields(), 100)] == [2, 2, 1]


def test_an_empty_file_is_one_empty_part(tmp_path: Path):
    (tmp_path / "a.jsonl").touch()
    [split] = plan_splits(files(tmp_path))
    [part] = read_split(split, Fields(), 100)
    assert (part.last, part.records, part.bad, part.input_bytes) == (True, [], [], 0)


def test_a_parquet_file_reports_its_progress(tmp_path: Path):
    table = pyarrow.table({"id": list(range(100)), "text": ["x"] * 100, "unused": ["y" * 1000] * 100})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    [split] = plan_splits(files(tmp_path))
    parts = list(read_split(split, Fields(keep=()), 25))
    size = split.files[0].bytes
    assert [part.input_bytes for part in parts] == pytest.approx([size / 4] * 4, abs=2)
    assert parts[0].records[0][1].payload == "{}"


def test_a_missing_file_fails_the_split(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines({"id": 1, "text": "one"}))
    [split] = plan_splits(files(tmp_path))
    path.unlink()
    with pytest.raises(JobError, match=r"a\.jsonl: cannot be read: "):
        list(read_split(split, Fields(), 100))


def test_a_missing_field_is_reported_with_the_first_row(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines("oops\n", {"id": 1, "abstract": "one"}))
    [file] = files(path)
    with pytest.raises(JobError, match="no field text, content, body: name one with --text-field"):
        check_first_row(file, Fields())
    check_first_row(file, Fields(text=("abstract",)))
