"""Makes CSV, JSON lines and Parquet files with random faults, and says which rows of them are good."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

ROWS = 20
JSON_FAULTS = ("", "{", "[1]", '{"id": 1, "id": 2, "text": "x"}', '{"text": "no id"}', '{"id": "", "text": "x"}')
CSV_FAULTS = ('9,"a 3" screw"', "only one", "too,many,fields,here", ',no id,"n"', '9,"open')
WORDS = ["sea", "Größe", "हिन्दी", "🐟", "naïve", "fish", "red", "green"]


def write_faulty_files(folder: Path, count: int, seed: int) -> set[str]:
    """Writes `count` files below `folder`; returns the ids of the rows that have no fault."""
    chosen = random.Random(seed)
    folder.mkdir()
    good: set[str] = set()
    for number in range(count):
        kind = chosen.choice([_json_lines, _json_lines, _table, _table, _parquet])
        good |= kind(folder, number, chosen)
    return good


def _text(chosen: random.Random) -> str:
    return " ".join(chosen.choices(WORDS, k=3))


def _faulty(chosen: random.Random) -> set[int]:
    return set(chosen.sample(range(ROWS), chosen.choice([0, 1, 2, 5])))


def _json_lines(folder: Path, number: int, chosen: random.Random) -> set[str]:
    faulty = _faulty(chosen)
    lines = []
    for row in range(ROWS):
        values = {"id": f"{number}-{row}", "text": _text(chosen), "n": chosen.choice([1, 2.5, None, [True], float("nan")])}
        line = json.dumps(values, ensure_ascii=chosen.random() < 0.5).encode()
        if row in faulty:
            spoiled = json.dumps({**values, "text": chosen.choice([" ", 5, "\ud800"])}).encode()
            line = chosen.choice([*(fault.encode() for fault in JSON_FAULTS), line[:-2] + b"\xe9\xff}", spoiled])
            # A blank line is skipped; it is neither good nor bad.
        lines.append(line + b"\n")
    _write(folder / f"{number:03d}.jsonl", b"".join(lines), chosen)
    return _ids(number, faulty)


def _table(folder: Path, number: int, chosen: random.Random) -> set[str]:
    tabs = chosen.random() < 0.3
    faulty = _faulty(chosen)
    lines = ["id,text,note"]
    for row in range(ROWS):
        text = f'"{_text(chosen)}\nin two lines"' if chosen.random() < 0.2 else _text(chosen)
        lines.append(chosen.choice(CSV_FAULTS[:-1]) if row in faulty else f"{number}-{row},{text},ok")
    if ROWS - 1 in faulty and chosen.random() < 0.5:
        lines[-1] = CSV_FAULTS[-1]
    content = "\n".join(lines) + "\n"
    content = content.replace(",", "\t") if tabs else content
    _write(folder / f"{number:03d}.{'tsv' if tabs else 'csv'}", content.encode(), chosen)
    return _ids(number, faulty)


def _write(path: Path, content: bytes, chosen: random.Random) -> None:
    """Writes a file, some compressed and with garbage behind them, which loses no row."""
    how = chosen.choice(["plain", "gzip", "garbage", "checksum"])
    packed = gzip.compress(content)
    if how == "checksum":
        packed = packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:]
    data = {"plain": content, "gzip": packed, "garbage": packed + b"garbage", "checksum": packed}[how]
    path.with_name(path.name + ("" if how == "plain" else ".gz")).write_bytes(data)


def _parquet(folder: Path, number: int, chosen: random.Random) -> set[str]:
    faulty = _faulty(chosen)
    ids = [f"{number}-{row}" for row in range(ROWS)]
    texts = [_text(chosen).encode() + (b"\xff" if row in faulty and row % 2 else b"") for row in range(ROWS)]
    days = [5_000_000 if row in faulty and not row % 2 else row for row in range(ROWS)]
    columns = {
        "id": ids,
        "text": pa.array(texts, pa.binary()).view(pa.string()),
        "when": pa.array(days, pa.int32()).cast(pa.date32()),
    }
    pyarrow.parquet.write_table(pa.table(columns), folder / f"{number:03d}.parquet", row_group_size=7)
    return _ids(number, faulty)


def _ids(number: int, faulty: set[int]) -> set[str]:
    return {f"{number}-{row}" for row in range(ROWS) if row not in faulty}
