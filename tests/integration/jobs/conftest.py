"""A corpus that keeps a job busy long enough to be disturbed in the middle."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from support.encode_process import encode

MODEL = "hashing:4096"
PART_ROWS = 25


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 good rows and 3 bad ones in three files."""
    chosen = random.Random(7)
    words = ["".join(chosen.choices("abcdefghij", k=6)) for _ in range(800)]
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        {"id": f"d{number}", "text": " ".join(chosen.choices(words, k=120)), "year": number % 30} for number in range(1000)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    lines[10:10] = ["no JSON at all\n"]
    lines[700:700] = [json.dumps({"id": "blank", "text": "  "}) + "\n", json.dumps({"text": "no id"}) + "\n"]
    (folder / "a.jsonl").write_text("".join(lines[:600]))
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.writelines(lines[600:900])
    (folder / "c.jsonl").write_text("".join(lines[900:]))
    return folder


@pytest.fixture(scope="module")
def arguments(corpus: Path) -> list[object]:
    """The arguments of these tests' job, except its output."""
    return [corpus, "--model", MODEL, "--part-rows", PART_ROWS, "--threads", 1, "--output"]


@pytest.fixture(scope="module")
def undisturbed(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an undisturbed run."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    done = encode(*arguments, output)
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    assert last.startswith("shoal: 3 rows were not encoded: ") and last.endswith(f"; see {output}/*.errors.jsonl")
    return output
