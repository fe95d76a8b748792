from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoal.records import InputError, find_inputs, open_input
from shoal.records.find import matches


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


def test_uris_and_paths_find_the_same(corpus: Path):
    local, remote = find_inputs([str(corpus)]), find_inputs([f"file://{corpus}"])
    assert [(file.name, file.bytes, file.modified_ns) for file in local[0]] == [
        (file.name, file.bytes, file.modified_ns) for file in remote[0]
    ]
    assert [file.path for file in remote[0]] == [f"file://{file.path}" for file in local[0]]
    assert names(f"file://{corpus}/**/*.csv") == ["sub/deep/d.csv"]


def test_local_files_need_no_pyarrow(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    [[file]] = find_inputs([str(corpus / "b.jsonl")])
    with open_input(file.path, seekable=False) as opened:
        assert opened.read() == b"x" * 7
    with pytest.raises(InputError, match=r"^file:///a\.csv: reading a URI needs pyarrow: pip install 'shoal\[cluster\]'$"):
        find_inputs(["file:///a.csv"])


def test_links_are_followed_but_not_in_circles(corpus: Path):
    (corpus / "sub" / "up").symlink_to(corpus)
    (corpus / "linked").symlink_to(corpus / "sub" / "deep")
    (corpus / "gone.csv").symlink_to(corpus / "nothing.csv")
    assert names(f"{corpus}/**/*.csv") == ["linked/d.csv", "sub/deep/d.csv"]


def test_a_name_that_is_not_unicode(corpus: Path):
    (corpus / "a\udcff.csv").touch()
    with pytest.raises(InputError, match=r"a\\udcff\.csv': the name is not valid Unicode"):
        find_inputs([str(corpus)])


def test_what_cannot_be_found_is_told(corpus: Path):
    for given, told in [
        (f"{corpus}/nothing.jsonl", "no such file or folder"),
        (f"{corpus}/f.bin", "not a .jsonl,"),
        (f"{corpus}/*.bin", "file matches"),
        ("nosuch://x/y", ""),
    ]:
        with pytest.raises(InputError) as error:
            find_inputs([given])
        assert str(error.value).startswith(f"{given}: ") and told in str(error.value)
    (corpus / "empty").mkdir()
    with pytest.raises(InputError, match="files in this folder"):
        find_inputs([str(corpus / "empty")])
    with pytest.raises(InputError, match="given twice"):
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
