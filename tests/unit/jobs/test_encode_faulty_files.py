"""Files with faults, as users have them: what `shoal encode` says of them on the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from shoal.client.cli import main
from support.local_pipeline import MODEL, use_local_pipeline


@pytest.fixture(autouse=True)
def local_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    use_local_pipeline(monkeypatch)


def encode(output: Path, *arguments: object) -> Result:
    command = ["encode", *map(str, arguments), "--model", MODEL, "--output", str(output), "--part-rows", "3"]
    return CliRunner().invoke(main, command)


def encoded(output: Path) -> list[tuple[str, dict[str, object]]]:
    """Ids and payloads, in order."""
    tables = [pyarrow.parquet.read_table(path) for path in sorted(output.glob("part-*.parquet"))]
    ids = [id for table in tables for id in table.column("id").to_pylist()]
    return list(zip(ids, (json.loads(one) for table in tables for one in table.column("payload").to_pylist()), strict=True))


def test_encoding_with_bad_rows_names_them_in_order_and_keeps_them(tmp_path: Path):
    first, second = tmp_path / "b.csv", tmp_path / "a.jsonl"
    first.write_text('id,text\n1,fine\n2,"a 3" screw"\n3,fine\n4,only\n5\n6,fine\n')
    second.write_bytes('{"id": "x", "text": "fine"}\n{"id": "y", "text": "café"}\n'.encode("latin-1"))
    rejects = tmp_path / "rejects.jsonl"
    done = encode(tmp_path / "out", first, second, "--rejects", rejects)
    assert done.exit_code == 1
    bad = [
        (first, 3, "not CSV: ',' expected after '\"'"),
        (first, 6, "wrong number of fields: 1, the header has 2"),
        (second, 2, "not UTF-8: byte 0xe9 in column 25"),
    ]
    counts = "1 not CSV; 1 wrong number of fields; 1 not UTF-8"
    assert [line for line in done.stderr.splitlines() if "%" not in line] == [
        *(f"{path}:{line}: {reason}" for path, line, reason in bad),
        f"shoal: 3 rows were not encoded: {counts}; see {tmp_path}/out/*.errors.jsonl",
    ]
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(row["source"], row["line"], row["reason"]) for row in kept] == [(str(path), *rest) for path, *rest in bad]
    assert [id for id, _ in encoded(tmp_path / "out")] == ["1", "3", "4", "6", "x"]
    rejects.unlink()
    # A run with nothing left to do keeps the same rows.
    assert encode(tmp_path / "out", first, second, "--rejects", rejects).exit_code == 1
    assert [json.loads(line) for line in rejects.read_text().splitlines()] == kept


def test_encoding_numbers_that_json_lacks_notes_them(tmp_path: Path):
    table = pa.table({"id": ["a", "b", "c"], "text": ["x", "y", "z"], "score": [math.nan, 0.5, math.inf]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    done = encode(tmp_path / "out", tmp_path / "a.parquet")
    notes = [line for line in done.stderr.splitlines() if line.startswith(("note:", "shoal:"))]
    assert (done.exit_code, notes) == (0, ["note: NaN or infinity became null in field 'score' of 2 rows"])
    assert encoded(tmp_path / "out") == [("a", {"score": None}), ("b", {"score": 0.5}), ("c", {"score": None})]


def test_encoding_a_folder_with_hidden_files_in_it(tmp_path: Path):
    for name in (".git/a.md", "._x.md", "notes.md"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some text")
    done = encode(tmp_path / "out", tmp_path / "in")
    left_out = f"note: 2 hidden files were left out, such as {tmp_path}/in/._x.md; --hidden reads them too"
    assert done.exit_code == 0 and done.stderr.splitlines()[0] == left_out
    assert [id for id, _ in encoded(tmp_path / "out")] == ["notes.md"]
    done = encode(tmp_path / "all", tmp_path / "in", "--hidden")
    assert done.exit_code == 0 and "hidden" not in done.stderr
    assert [id for id, _ in encoded(tmp_path / "all")] == ["._x.md", ".git/a.md", "notes.md"]


def test_encoding_the_same_id_twice_notes_it(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": id, "text": "x"}) + "\n" for id in "abcdaeaa"))
    done = encode(tmp_path / "out", path)
    part = f"{tmp_path}/out/part-000000-00000"
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert done.exit_code == 0 and notes == [
        f"note: {part}1.parquet:2: id 'a' is also that of {part}0.parquet:1",
        f"note: {part}2.parquet:1: id 'a' is also that of {part}1.parquet:2",
        f"note: {part}2.parquet:2: id 'a' is also that of {part}2.parquet:1",
        "note: 3 rows had the id of an earlier row; an import keeps the last one",
    ]
    # Also those that an earlier run encoded.
    done = encode(tmp_path / "out", path, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["repeated_ids"] == 3
    assert [line for line in done.stderr.splitlines() if line.startswith("note: ")] == notes
