"""What `shoal encode` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shoal.client.cli import main


def encode(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["encode", *map(str, arguments)])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "moon", "year": 1969}\n')
    return path


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (["--text-field", "abstract"], "no field 'abstract'; the fields are id, text, year"),
        (["--id-field", "doi"], "no field 'doi'; the fields are id, text, year"),
        (["--keep", "author"], "no field 'author'; the fields are id, text, year"),
    ],
)
def test_a_missing_field(corpus: Path, options: list[str], fields: str):
    done = encode(corpus, "--model", "hashing", "--output", corpus.parent / "out", *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"shoal: {corpus}: {fields}\n"
    assert not (corpus.parent / "out").exists()


def test_a_missing_input(tmp_path: Path):
    done = encode(tmp_path / "nothing.jsonl", "--model", "hashing", "--output", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (1, f"shoal: {tmp_path}/nothing.jsonl: no such file or folder\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--keep", "year", "--no-payload"],
        ["--dtype", "int8"],
        ["--dimensions", "0"],
        ["--part-rows", "0"],
        ["--shard-rows", "0"],
        ["--gpus", "-1"],
        ["--replicas", "0"],
        ["--threads", "0"],
    ],
)
def test_wrong_usage(corpus: Path, options: list[str]):
    assert encode(corpus, "--model", "hashing", "--output", corpus.parent / "out", *options).exit_code == 2


def test_help_shows_how_to_submit_the_job():
    done = encode("--help")
    assert done.exit_code == 0 and "ray job submit -- shoal encode" in done.stdout
