from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from shoal.records import InputError, find_inputs, open_input, suffix_of
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


def test_files_of_a_folder_are_in_order_of_path(corpus: Path):
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
    [local], [remote] = find_inputs([str(corpus)]), find_inputs([f"file://{corpus}"])
    assert [(file.name, file.bytes, file.modified_ns) for file in local] == [
        (file.name, file.bytes, file.modified_ns) for file in remote
    ]
    assert [file.path for file in remote] == [f"file://{file.path}" for file in local]
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


def test_missing_inputs_are_reported(corpus: Path):
    for given, message in [
        (f"{corpus}/nothing.jsonl", "no such file or folder"),
        (f"{corpus}/f.bin", "not a .jsonl,"),
        (f"{corpus}/*.bin", "file matches"),
        ("nosuch://x/y", ""),
    ]:
        with pytest.raises(InputError) as error:
            find_inputs([given])
        assert str(error.value).startswith(f"{given}: ") and message in str(error.value)
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


def test_changes_are_detected(corpus: Path):
    before = find_inputs([str(corpus)])
    assert find_inputs([str(corpus)]) == before
    (corpus / "b.jsonl").write_bytes(b"xxxxxxy")
    assert find_inputs([str(corpus)]) != before


def test_files_of_the_same_name_in_two_folders_have_ids_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in ("a", "b"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "README.md").write_text(folder)
        (tmp_path / folder / "sub" / "x.txt").write_text(folder)
    monkeypatch.chdir(tmp_path)
    both = ["a/README.md", "a/sub/x.txt", "b/README.md", "b/sub/x.txt"]
    assert names("a", "b") == names("./a/", tmp_path / "b") == names(f"file://{tmp_path}/a", f"file://{tmp_path}/b") == both
    # As a shell expands */README.md, and as it is expanded here.
    assert names("a/README.md", "b/README.md") == names("*/README.md") == ["a/README.md", "b/README.md"]
    assert names("a") == ["README.md", "sub/x.txt"] and names("a/README.md") == ["README.md"]
    assert names("a/README.md", "a/sub") == ["README.md", "sub/x.txt"]
    # Paths and URIs have no folder in common.
    mixed = names("a", f"file://{tmp_path}/b")
    assert mixed[0] == f"{tmp_path}/a/README.md" and mixed[2] == f"file://{tmp_path}/b/README.md"


def test_files_whose_names_are_no_ids_leave_the_names_of_texts_alone(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").touch()
    (tmp_path / "x.jsonl").touch()
    assert names(tmp_path / "notes", tmp_path / "x.jsonl") == ["a.md", "x.jsonl"]


def test_hidden_files_are_left_out_counted_and_read_on_demand(corpus: Path):
    (corpus / ".venv" / "lib").mkdir(parents=True)
    (corpus / ".venv" / "lib" / "LICENSE.txt").touch()
    (corpus / "sub" / "._c.md").touch()
    (corpus / ".gitignore").touch()
    for given in (str(corpus), f"file://{corpus}"):
        found = find_inputs([given])
        assert [file.name for files in found for file in files] == names(corpus)
        left_out = [".git/e.md", ".venv/lib/LICENSE.txt", "_SUCCESS.txt", "sub/._c.md"]
        assert found.hidden == [f"{given}/{path}" for path in left_out]
        assert found.note == f"4 hidden files were left out, such as {given}/.git/e.md; --hidden reads them too"
        everything = find_inputs([given], hidden=True)
        assert sum(len(files) for files in everything) == len(names(corpus)) + 4 and everything.note == ""
    assert find_inputs([str(corpus / "sub")]).note.startswith("1 hidden file was left out, such as ")


def test_a_hidden_folder_that_is_named_is_read(corpus: Path):
    assert names(corpus / ".git") == names(f"{corpus}/.git/*.md") == ["e.md"]
    assert names(f"{corpus}/.g*/*") == [".git/e.md"] and names(f"{corpus}/_*") == ["_SUCCESS.txt"]
    with pytest.raises(
        InputError, match=r"file matches; 1 hidden file was left out, such as .*_SUCCESS\.txt; --hidden reads them too$"
    ):
        names(f"{corpus}/*.txt")


def test_a_hidden_folder_that_may_not_be_read_is_no_error(corpus: Path, monkeypatch: pytest.MonkeyPatch):
    scan = os.scandir
    closed = [".git"]

    def refuse(path: str):
        if str(path).endswith(tuple(closed)):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(corpus) == ["a.jsonl.gz", "b.jsonl", "sub/c.md", "sub/deep/d.csv", "sub/g.parquet"]
    closed.append("deep")
    with pytest.raises(InputError, match="Permission denied"):
        names(corpus)


def test_standard_input_has_the_format_that_is_said():
    [[file]] = find_inputs(["-"], stdin_suffix=".csv")
    assert (file.path, suffix_of(file.name)) == ("-", ".csv")
    with pytest.raises(InputError, match=r"^-: standard input is not read here: write it to a file first$"):
        find_inputs(["-"])


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=3)
PATHS = st.lists(st.tuples(st.sampled_from("abc"), NAMES.filter(lambda name: name[0] not in "._")), min_size=1, max_size=6)


@hypothesis.given(PATHS, st.booleans())
def test_no_two_files_share_an_id_whatever_is_given(tmp_path_factory, paths: list[tuple[str, str]], by_file: bool):
    root = tmp_path_factory.mktemp("ids")
    for folder, name in paths:
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}.md").touch()
    given = sorted({root / folder / f"{name}.md" if by_file else root / folder for folder, name in paths})
    found = names(*given)
    assert len(set(found)) == len(found) == len(set(paths))
