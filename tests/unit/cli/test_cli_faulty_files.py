"""Files with faults, as users have them: `shoal add` takes every good row and names every bad one, and so does encode."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import Result

from shoal.records import rows_were
from support.encoded_output import Taken, taken_by_encode
from support.gateway.client_server import FakeGateway


@pytest.fixture
def taken(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path) -> Callable[..., Taken]:
    """What both commands take of some inputs; they must agree."""

    def both(*inputs: Path, notes: Sequence[str] = ()) -> Taken:
        result = shoal("add", "c", *inputs)
        lines = result.stderr.splitlines()
        last = lines.pop() if result.exit_code else ""
        assert last.startswith(f"shoal: {rows_were(len(lines) - len(notes))} not added to c: ") or not last
        rejected = []
        assert [line for line in lines if line.startswith(("note: ", "shoal: "))] == list(notes)
        for line in lines[: len(lines) - len(notes)]:
            path, number, reason = line.split(":", 2)
            rejected.append((path, int(number), reason.strip()))
        assert result.exit_code == bool(rejected)
        ids = sorted(gateway.world.collections["c"].documents)
        assert result.stdout.startswith(f"{len(ids)} documents in c, {len(ids)} of them new or changed")
        added = Taken(ids, rejected)
        assert taken_by_encode(inputs, tmp_path / "encoded") == added
        return added

    return both


def test_adding_csv_with_a_stray_quote_among_good_files(taken: Callable[..., Taken], tmp_path: Path):
    for name in ("0", "1", "2"):
        (tmp_path / f"{name}.csv").write_text("id,text\n" + "".join(f"{name}-{n},text of {n}\n" for n in range(100)))
    (tmp_path / "3.csv").write_text('id,text\n3-0,fine\n3-1,"a 3" screw"\n')
    found = taken(*sorted(tmp_path.glob("*.csv")))
    assert len(found.ids) == 301 and "3-0" in found.ids
    assert found.rejected == [(f"{tmp_path}/3.csv", 3, "not CSV: ',' expected after '\"'")]


def test_adding_files_with_one_latin_1_byte(taken: Callable[..., Taken], tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("id,text,note\n1,one,\n2,café,\n3,three,é\n4,four,ok\n".encode("latin-1"))
    (tmp_path / "b.jsonl").write_bytes('{"id": 5, "text": "five"}\n{"id": 6, "text": "café"}\n'.encode("latin-1"))
    found = taken(tmp_path / "a.csv", tmp_path / "b.jsonl")
    assert found.ids == ["1", "4", "5"]
    assert [(Path(path).name, line, reason) for path, line, reason in found.rejected] == [
        ("a.csv", 3, "the text is not valid Unicode"),
        ("a.csv", 4, "field 'note' is not valid Unicode"),
        ("b.jsonl", 2, "not UTF-8: byte 0xe9 in column 23"),
    ]


def test_adding_a_gzip_file_with_garbage_behind_it(taken: Callable[..., Taken], tmp_path: Path):
    rows = "".join(json.dumps({"id": n, "text": f"row {n}"}) + "\n" for n in range(300)).encode()
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(rows) + b"garbage")
    found = taken(path)
    assert len(found.ids) == 300
    message = "the file is damaged or cut short from here on: what follows the gzip data is not gzip"
    assert found.rejected == [(str(path), 301, message)]


def test_adding_utf16_and_capital_suffixes(taken: Callable[..., Taken], tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes('{"id": 1, "text": "größer"}\n{"id": 2, "text": "two"}\n'.encode("utf-16"))
    (tmp_path / "B.JSONL.GZ").write_bytes(gzip.compress(b'{"id": 3, "text": "three"}\n'))
    (tmp_path / "C.Csv").write_text("id,text\n4,four\n")
    found = taken(tmp_path)
    assert (found.ids, found.rejected) == (["1", "2", "3", "4"], [])


def test_adding_parquet_with_a_date_beyond_year_9999_and_text_that_is_not_utf8(taken: Callable[..., Taken], tmp_path: Path):
    days = pa.array([0, 5_000_000, 1, 2], pa.int32()).cast(pa.date32())
    texts = pa.array([b"one", b"two", b"caf\xe9", b"four"], pa.binary()).view(pa.string())
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"id": ["a", "b", "c", "d"], "text": texts, "when": days}), path)
    found = taken(path)
    assert found.ids == ["a", "d"]
    assert found.rejected == [
        (str(path), 2, "column 'when' holds a date beyond the years 1 to 9999"),
        (str(path), 3, "column 'text' holds bytes that are not UTF-8: 0xe9 at 3"),
    ]


def test_adding_parquet_with_columns_that_json_lacks(taken: Callable[..., Taken], gateway: FakeGateway, tmp_path: Path):
    columns = {
        "id": ["a"],
        "text": ["one"],
        "price": pa.array([decimal.Decimal("12.50")], pa.decimal128(10, 2)),
        "exact": pa.array([decimal.Decimal("12345678901234567890.01")], pa.decimal128(38, 2)),
        "when": [[{"day": datetime.date(2020, 1, 2)}]],
        "took": [datetime.timedelta(seconds=90)],
        "raw": [b"\x00\xff"],
        "score": [math.nan],
        "at": pa.array([3_723_000_000_005], pa.int64()).cast(pa.time64("ns")),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    notes = ["note: NaN or infinity became null in field 'score' of 1 row"]
    assert taken(tmp_path / "a.parquet", notes=notes).ids == ["a"]
    assert json.loads(gateway.world.collections["c"].documents["a"].payload) == {
        "price": 12.5,
        "exact": "12345678901234567890.01",
        "when": [{"day": "2020-01-02"}],
        "took": 90,
        "raw": "AP8=",
        "score": None,
        "at": "01:02:03.000000005",
    }


def test_adding_a_table_that_has_a_column_twice(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,text\n1,first,second\n")
    result = shoal("add", "c", path)
    message = "column 'text' is in the header twice: rename one, so that none of their values is lost"
    assert (result.exit_code, result.stderr) == (1, f"shoal: {path}: {message}\n")
    assert gateway.world.collections["c"].documents == {}


def test_adding_two_folders_that_both_have_a_readme(
    taken: Callable[..., Taken], gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(f"about {folder}")
    monkeypatch.chdir(tmp_path)
    assert taken(Path("a"), Path("b")).ids == ["a/README.md", "b/README.md"]
    assert gateway.world.collections["c"].documents["b/README.md"].text == "about b"


def test_adding_a_folder_with_hidden_files_in_it(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in (".git/description.txt", ".venv/lib/LICENSE.txt", "._x.md", "a.md", "sub/b.md"):
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some text")
    result = shoal("add", "c", tmp_path / "notes")
    left_out = f"3 hidden files were left out, such as {tmp_path}/notes/._x.md"
    assert (result.exit_code, result.stderr) == (0, f"note: {left_out}; --hidden reads them too\n")
    assert sorted(gateway.world.collections["c"].documents) == ["a.md", "sub/b.md"]
    result = shoal("add", "c", tmp_path / "notes", "--hidden")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(gateway.world.collections["c"].documents) == 5
