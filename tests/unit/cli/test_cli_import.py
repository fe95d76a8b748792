"""`shoal import`: what it says of rows that cannot be imported, of damaged files and of ids that come twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import Result

from shoal.cluster.jobs.encode.job import JobSettings
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.encoded_output import write_output
from support.gateway.client_server import FakeGateway
from support.gateway.client_world import REFUSED

ROWS_OF_A_PART = 4


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Output as `shoal encode` writes it, with the fingerprint of the fake gateway's collections."""
    output = write_output(folder, rows, HashingModel(16), JobSettings("hashing:16", part_rows=ROWS_OF_A_PART))
    job = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps(job | {"fingerprint": "f" * 8}))
    return output


def part(output: Path, index: int) -> Path:
    return output / f"part-000000-{index:06d}.parquet"


def rewrite(path: Path, column: str, change: Callable[[list[Any]], pa.Array]) -> None:
    """Changes a column of a part."""
    table = pyarrow.parquet.read_table(path)
    position = table.schema.get_field_index(column)
    changed = change(table.column(column).to_pylist())
    pyarrow.parquet.write_table(table.set_column(position, table.schema.field(column), changed), path)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Twelve rows in three parts; the server refuses two of them."""
    rows = [{"id": f"d{n}", "text": REFUSED if n in (3, 9) else f"text {n}", "n": n} for n in range(12)]
    return write(tmp_path, rows)


def test_importing_with_bad_rows_names_them_in_order_and_keeps_them(
    shoal: Callable[..., Result], gateway: FakeGateway, output: Path, tmp_path: Path
):
    def with_a_bad_text(texts: list[str]) -> pa.Array:
        encoded = [text.encode() for text in texts]
        return pa.array([*encoded[:1], b"caf\xe9", *encoded[2:]], pa.binary()).view(pa.string())

    rewrite(part(output, 0), "text", with_a_bad_text)
    rewrite(part(output, 2), "payload", lambda payloads: pa.array(["{", *payloads[1:]]))
    content = part(output, 1).read_bytes()
    part(output, 1).write_bytes(content[: len(content) // 2])
    rejects = tmp_path / "rejects.jsonl"
    result = shoal("import", "c", output, "--batch", 2, "--rejects", rejects)
    assert result.exit_code == 1
    locations = [
        (part(output, 0), 2),
        (part(output, 0), 4),
        (part(output, 1), 1),
        (part(output, 2), 1),
        (part(output, 2), 2),
    ]
    *bad, last = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in bad] == [f"{path}:{row}" for path, row in locations]
    assert [line.split(": ")[1] for line in bad] == [
        "not a document",
        "text refused",
        "not Parquet",
        "not a document",
        "text refused",
    ]
    assert bad[2].startswith(f"{part(output, 1)}:1: not Parquet: rows 1 to 4: ")
    assert last == "shoal: 5 rows were not imported to c: 2 not a document; 2 text refused; 1 not Parquet"
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(row["source"], row["line"], row["id"]) for row in kept] == [
        (str(path), row, id) for (path, row), id in zip(locations, ["", "d3", "", "", "d9"], strict=True)
    ]
    stored = gateway.world.collections["c"].documents
    assert sorted(stored) == ["d0", "d10", "d11", "d2"]
    assert json.loads(stored["d10"].payload) == {"n": 10}
    assert "documents[" not in result.stderr


def test_a_part_that_is_gone_is_named(shoal: Callable[..., Result], gateway: FakeGateway, output: Path):
    part(output, 0).unlink()
    result = shoal("import", "c", output)
    assert result.stderr.splitlines()[0].startswith(f"{part(output, 0)}:1: not Parquet: rows 1 to 4: ")
    assert sorted(gateway.world.collections["c"].documents) == ["d10", "d11", "d4", "d5", "d6", "d7", "d8"]


def test_the_same_id_twice_in_one_import_is_noted(
    shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway, tmp_path: Path
):
    output = write(tmp_path, [{"id": id, "text": f"text {n}"} for n, id in enumerate("abcdeaa")])
    result = shoal("import", "c", output)
    assert (result.exit_code, result.stderr.splitlines()) == (
        0,
        [
            f"note: {part(output, 1)}:2: id 'a' replaces the row at {part(output, 0)}:1",
            f"note: {part(output, 1)}:3: id 'a' replaces the row at {part(output, 1)}:2",
            "note: 2 rows had the id of an earlier row and replaced it",
        ],
    )
    assert gateway.world.collections["c"].documents["a"].text == "text 6"
    assert shoal_json("import", "c", output)["repeated_ids"] == 2
