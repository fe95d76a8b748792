"""Payloads of Parquet columns of every type: `shoal add`, and `shoal encode` with `shoal import`, store the same ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from shoal.client import Client
from shoal.client.cli import main
from support.gateway.client_server import FakeGateway
from support.local_pipeline import MODEL, use_local_pipeline

ROWS = 200
DAY_NS = 86_400 * 10**9


def columns(chosen: random.Random) -> dict[str, pa.Array]:
    """A column of each type, with nulls, and with values without a form in JSON."""

    def some(draw: Callable[[], Any], kind: pa.DataType, stored: pa.DataType | None = None) -> pa.Array:
        values = [None if chosen.random() < 0.1 else draw() for _ in range(ROWS)]
        return pa.array(values, stored or kind).cast(kind) if stored else pa.array(values, kind)

    def decimal(digits: int, scale: int) -> Callable[[], Decimal]:
        return lambda: Decimal(chosen.randrange(10**digits)).scaleb(-scale)

    text = chosen.choice
    days = pa.array([chosen.choice([0, 18_000, -5, 5_000_000]) for _ in range(ROWS)], pa.int32()).cast(pa.date32())
    return {
        "day": days,
        "days": pa.ListArray.from_arrays(list(range(ROWS + 1)), days),
        "moment": some(lambda: chosen.randrange(2**62), pa.timestamp("ns"), pa.int64()),
        "zoned": some(lambda: chosen.randrange(10**15), pa.timestamp("us", "Asia/Kolkata"), pa.int64()),
        "time": some(lambda: chosen.randrange(DAY_NS), pa.time64("ns"), pa.int64()),
        "clock": some(lambda: chosen.randrange(86_400_000), pa.time32("ms"), pa.int32()),
        "took": some(lambda: chosen.randrange(-(2**62), 2**62), pa.duration("ns"), pa.int64()),
        "price": some(decimal(9, 2), pa.decimal128(10, 2)),
        "exact": some(decimal(30, 5), pa.decimal128(38, 5)),
        "raw": some(lambda: chosen.randbytes(chosen.randrange(5)), pa.binary()),
        "score": some(lambda: chosen.choice([1.5, -0.0, 1e300, float("nan"), float("inf")]), pa.float64()),
        "half": some(lambda: chosen.choice([0.5, 2.0]), pa.float32()).cast(pa.float16()),
        "big": some(lambda: chosen.randrange(2**64), pa.uint64()),
        "flag": some(lambda: chosen.random() < 0.5, pa.bool_()),
        "word": some(lambda: text(["a", "größe", "\u2028"]), pa.string()).dictionary_encode(),
        "pairs": some(lambda: [("k", 1), ("l", None)], pa.map_(pa.string(), pa.int32())),
        "deep": some(
            lambda: {"a": [{"b": chosen.randrange(9)}]}, pa.struct([("a", pa.list_(pa.struct([("b", pa.int8())])))])
        ),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_columns_of_every_type_have_one_form(
    shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    use_local_pipeline(monkeypatch)
    table = pa.table({"id": [f"{n:03d}" for n in range(ROWS)], "text": ["some text"] * ROWS, **columns(random.Random(seed))})
    path, output = tmp_path / "a.parquet", tmp_path / "out"
    pyarrow.parquet.write_table(table, path)
    with Client(gateway.address) as client:
        client.create_collection("imported", model="m")
    added = shoal("add", "c", path)
    encoded = CliRunner().invoke(main, ["encode", str(path), "--model", MODEL, "--output", str(output)])
    job = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps(job | {"fingerprint": "f" * 8}))
    assert shoal("import", "imported", output).exit_code == 0

    def payloads(name: str) -> dict[str, Any]:
        return {id: json.loads(stored.payload) for id, stored in gateway.world.collections[name].documents.items()}

    stored = payloads("c")
    assert stored == payloads("imported")
    bad = [line for line in added.stderr.splitlines() if line.startswith(f"{path}:")]
    assert bad == [line for line in encoded.stderr.splitlines() if line.startswith(f"{path}:")]
    nulls = [line for line in added.stderr.splitlines() if line.startswith("note: ")]
    assert nulls == [line for line in encoded.stderr.splitlines() if line.startswith("note: ")] and len(nulls) == 1
    # A row without a date is bad, all others are there, and their times have all digits.
    good = [row for row, day in enumerate(table.column("day").cast(pa.int32()).to_pylist()) if day != 5_000_000]
    assert sorted(stored) == [f"{row:03d}" for row in good] and 0 < len(good) < ROWS
    times = table.column("time").cast(pa.int64()).to_pylist()
    for row in good:
        time = stored[f"{row:03d}"]["time"]
        assert (None if time is None else nanoseconds(time)) == times[row]


def nanoseconds(time: str) -> int:
    hours, minutes, seconds = time.split(":")
    whole, _, fraction = seconds.partition(".")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 10**9 + int(fraction.ljust(9, "0"))
