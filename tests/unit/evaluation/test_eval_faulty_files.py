"""Files with faults, as users have them: `shoal eval` scores what can be read and names the rest, as `shoal add` does."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shoal.client.cli import main

WORDS = {"sun": "1 0", "moon": "1 0.2", "sea": "0 1", "größe": "1 1"}
PAIRS = "sun\tmoon\t9\nsun\tsea\t1\nmoon\tsea\t2\n"


def shoal(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text(f"{len(WORDS)} 2\n" + "".join(f"{word} {numbers}\n" for word, numbers in WORDS.items()))
    return path


def similarity(table: Path, *arguments: object) -> tuple[list[tuple[str, float | None, int]], list[str]]:
    """Name, correlation and number of pairs of each file, and the lines on stderr."""
    done = shoal("eval", "similarity", table, *arguments, "--json")
    lines = done.stderr.splitlines()
    assert done.exit_code == any(not line.startswith("note: ") for line in lines), done.output
    files = json.loads(done.stdout)["files"]
    return [(Path(one["file"]).name, one["spearman"], one["asked"]) for one in files], lines


def test_pairs_with_bad_rows_are_scored_without_them(table: Path, tmp_path: Path):
    path = tmp_path / "a.csv"
    rows = (
        'word1,word2,score,note\nsun,moon,9,é\nsun,"a 3" screw",1,\nsun,sea,1,\nsun,caf\xe9,4,\nmoon,sea,much,\nmoon,sea\n'
    )
    path.write_bytes((rows + "moon,sea,2,\n").encode("latin-1"))
    rejects = tmp_path / "rejects.jsonl"
    scored, lines = similarity(table, path, "--rejects", rejects)
    assert scored == [("a.csv", 1.0, 3)]
    assert lines == [
        f"{path}:3: not CSV: ',' expected after '\"'",
        f"{path}:5: a word is not valid Unicode",
        f"{path}:6: the score is not a number: 'much'",
        f"{path}:7: wrong number of fields: 2, expected word1, word2 and score",
        "shoal: 4 rows were not read: 1 not CSV; 1 a word is not valid Unicode; 1 the score is not a number; "
        "1 wrong number of fields",
    ]
    assert [json.loads(line)["line"] for line in rejects.read_text().splitlines()] == [3, 5, 6, 7]


def test_pairs_in_utf16_compressed_and_with_capital_suffixes(table: Path, tmp_path: Path):
    (tmp_path / "a.tsv").write_bytes(PAIRS.encode("utf-16"))
    (tmp_path / "B.TSV.GZ").write_bytes(gzip.compress(PAIRS.encode()))
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbf" + PAIRS.replace("\t", "  ").encode())
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(PAIRS.replace("\t", ",").encode()) + b"garbage")
    inputs = [tmp_path / name for name in ("a.tsv", "B.TSV.GZ", "c.txt", "d.csv.gz")]
    scored, lines = similarity(table, *inputs)
    assert scored == [(path.name, 1.0, 3) for path in inputs]
    damage = "the file is damaged or cut short from here on"
    assert lines == [
        f"{inputs[3]}:4: {damage}: what follows the gzip data is not gzip",
        f"shoal: 1 row was not read: 1 {damage}",
    ]


def test_a_pattern_leaves_out_hidden_files(table: Path, tmp_path: Path):
    for name in ("a.tsv", "b.tsv", "._a.tsv"):
        (tmp_path / name).write_text(PAIRS)
    scored, lines = similarity(table, f"{tmp_path}/*.tsv")
    assert [name for name, _, _ in scored] == ["a.tsv", "b.tsv"]
    assert lines == [f"note: 1 hidden file was left out, such as {tmp_path}/._a.tsv; --hidden reads them too"]
    scored, lines = similarity(table, f"{tmp_path}/*.tsv", "--hidden")
    assert (len(scored), lines) == (3, [])


def test_questions_with_bad_rows_are_scored_without_them(table: Path, tmp_path: Path):
    path = tmp_path / "questions.txt"
    path.write_bytes(
        ": one\nsun moon sun moon\nsun moon\nsun caf\xe9 sun sea\n: two\nsea größe sea größe\n".encode("latin-1")
    )
    done = shoal("eval", "analogy", table, path)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{path}:3: wrong number of words: 2, expected 4, or ': ' and the name of a section",
        f"{path}:4: not UTF-8: byte 0xe9 in column 8",
        f"{path}:6: not UTF-8: byte 0xf6 in column 7",
        "shoal: 3 rows were not read: 2 not UTF-8; 1 wrong number of words",
    ]
    assert done.stdout.splitlines()[1].split()[0] == "one"
    path.write_bytes(path.read_bytes().decode("latin-1").encode("utf-16"))
    done = shoal("eval", "analogy", table, path, "--json")
    assert [section["asked"] for section in json.loads(done.stdout)["sections"]] == [2, 1]


def test_words_of_a_vocabulary_with_a_bad_row(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_bytes("sun\nmoon\ncafé\n".encode("latin-1"))
    done = shoal("similar", "hashing:16", "sun", "--vocabulary", path)
    assert done.exit_code == 1 and done.stdout.split()[2] == "moon"
    assert done.stderr.splitlines() == [
        f"{path}:3: not UTF-8: byte 0xe9 in column 4",
        "shoal: 1 row was not read: 1 not UTF-8",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no.tsv", "no.tsv: no such file or folder"),
        ("none/*.tsv", "none/*.tsv: no .jsonl, "),
        (".", ".: is a folder: name its files, such as './*.tsv'"),
        ("a.jsonl", "a.jsonl: not a text, CSV or TSV file"),
        ("twice.csv", "twice.csv: column 'word2' is in the header twice: rename one, so that none of their values is lost"),
        ("-", "-: standard input is not read here: write it to a file first"),
        ("", "'': no such file or folder"),
    ],
)
def test_files_that_are_refused(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str):
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text("{}\n")
    Path("twice.csv").write_text("word1,word2,word2,score\nsun,sea,moon,2\n")
    done = shoal("eval", "similarity", table, given)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"shoal: {message}") and done.stderr.count("\n") == 1


def test_one_file_of_questions(table: Path, tmp_path: Path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("sun moon sun moon\n")
    assert shoal("eval", "analogy", table, f"{tmp_path}/a*.txt").exit_code == 0
    done = shoal("eval", "analogy", table, f"{tmp_path}/?.txt")
    assert (done.exit_code, done.stderr) == (1, f"shoal: {tmp_path}/?.txt: 2 files match: name one of them\n")
