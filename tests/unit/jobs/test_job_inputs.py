from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.inputs import find_inputs, matches, open_input


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in (
        "b.jsonl",
        "a.jsonl.gz",
        "sub/c.md",
        "sub/deep/d.csv",
        "_SUCCESS.txt",
        ".git/e.md",
        "f.bin",
        "sub/g.parquet",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return tmp_path / "in"


def names(*inputs: object) -> list[str]:
    return [file.name for files in find_inputs([str(one) for one in inputs]) for file in files]


def test_a_folder_gives_its_files_in_order_of_path(corpus: Path):
    assert names(corpus) == ["a.jsonl.gz", "b.jsonl", "sub/c.md", "sub/deep/d.csv", "sub/g.parquet"]


def test_files_and_patterns(corpus: Path):
    assert names(corpus / "b.jsonl", corpus / "sub") == ["b.jsonl", "c.md", "deep/d.csv", "g.parquet"]
    assert names(f"{corpus}/*.jsonl*") == ["a.jsonl.gz", "b.jsonl"]
    assert names(f"{corpus}/**/*.csv") == ["sub/deep/d.csv"]
    assert names(f"{corpus}/su?/*.[mp]*") == ["sub/c.md", "sub/g.parquet"]


def test_uris_keep_their_scheme(corpus: Path):
    [[file]] = find_inputs([f"file://{corpus}/b.jsonl"])
    assert (file.path, file.bytes) == (f"file://{corpus}/b.jsonl", 7)
    with open_input(file.path, seekable=False) as opened:
        assert opened.read() == b"x" * 7


def test_what_cannot_be_found_is_told(corpus: Path):
    for given, told in [
        (f"{corpus}/nothing.jsonl", "no such file or folder"),
        (f"{corpus}/f.bin", "not a .jsonl,"),
        (f"{corpus}/*.bin", "file matches"),
        ("nosuch://x/y", ""),
    ]:
        with pytest.raises(JobError) as error:
            find_inputs([given])
        assert str(error.value).startswith(f"{given}: ") and told in str(error.value)
    (corpus / "empty").mkdir()
    with pytest.raises(JobError, match="files in this folder"):
        find_inputs([str(corpus / "empty")])
    with pytest.raises(JobError, match="given twice"):
        find_inputs([str(corpus), f"{corpus}/*.jsonl"])


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "sub/a.csv", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "x/y/a.csv", True),
        ("[!a].csv", "b.csv", True),
        ("[!a].csv", "a.csv", False),
        ("a+.csv", "aa.csv", False),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool):
    assert matches(pattern, path) is fits


def test_a_change_shows(corpus: Path):
    before = find_inputs([str(corpus)])
    assert find_inputs([str(corpus)]) == before
    (corpus / "b.jsonl").write_bytes(b"xxxxxxy")
    assert find_inputs([str(corpus)]) != before
