"""Files with faults, as users have them: `shoal train` reads what can be read and names the rest, as `shoal add` does."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from shoal.client.cli import main
from shoal.cluster.jobs.word2vec import train_job
from shoal.workers.encoding.word_vectors import read_word_table
from shoal.workers.training.word2vec import TrainingError

DAMAGED = "the file is damaged or cut short from here on"


def train(output: Path, *arguments: object) -> Result:
    options = ("--output", output, "--dim", 4, "--epochs", 1, "--threads", 1, "--min-count", 1, "--sample", 0)
    command = ["train", "word2vec", *map(str, (*arguments, *options))]
    return CliRunner(env={"RAY_ADDRESS": None}).invoke(main, command)


def counts(output: Path) -> dict[str, int]:
    """The trained words and how often they occurred."""
    table = read_word_table(output)
    assert table.counts is not None
    return dict(zip(table.words, map(int, table.counts), strict=True))


def told(done: Result) -> list[str]:
    """The lines about the files."""
    return [line for line in done.stderr.splitlines() if line.startswith(("note: ", "/"))]


def test_training_on_a_folder_with_files_of_all_formats(tmp_path: Path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("plain text\n")
    (folder / "sub" / "wiki_00").write_text("without suffix\n")
    (folder / "b.JSONL.GZ").write_bytes(gzip.compress(b'{"title": "big", "text": "json\\nlines"}\n{"text": null}\n'))
    (folder / "c.csv").write_text('id,body\n1,"comma, separated"\n')
    (folder / "d.txt").write_bytes("sixteen größer\n".encode("utf-16"))
    (folder / "e.md").write_bytes(b"\xef\xbb\xbfmarked\n")
    days = pa.array([0, 5_000_000], pa.int32()).cast(pa.date32())
    pyarrow.parquet.write_table(pa.table({"content": ["columns", "rows"], "when": days}), folder / "f.parquet")
    (folder / "model.bin").write_bytes(b"\0\1\2")
    done = train(tmp_path / "v", folder)
    assert (done.exit_code, told(done)) == (0, []), done.output
    words = "plain text without suffix big json lines comma, separated sixteen größer marked columns rows"
    assert counts(tmp_path / "v") == dict.fromkeys(words.split(), 1)


@pytest.mark.parametrize("given", ["{}", "{}/**/*"])
def test_training_on_a_folder_with_hidden_files_in_it(tmp_path: Path, given: str):
    for name in ("a.txt", ".git/config", "._x.txt", "_SUCCESS"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"in {name}\n")
    corpus = given.format(tmp_path / "in")
    done = train(tmp_path / "v", corpus)
    first = f"{tmp_path}/in/._x.txt"
    assert told(done) == [f"note: 3 hidden files were left out, such as {first}; --hidden reads them too"]
    assert counts(tmp_path / "v") == {"in": 1, "a.txt": 1}
    done = train(tmp_path / "w", corpus, "--hidden")
    assert told(done) == [] and len(counts(tmp_path / "w")) == 5


def test_training_goes_on_after_bad_rows_and_damage(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "good"}\n{"text": 5}\n{"text": "broken\n{"body": "bad field"}\n')
    (folder / "b.csv").write_bytes('text,n\nfine,1\n"a 3" screw",2\ncafé,3\nkept,é\n'.encode("latin-1"))
    (folder / "c.txt").write_bytes("an old café\nline two\n".encode("latin-1"))
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"whole text\n") + b"garbage")
    packed = gzip.compress(" ".join(f"word{number}" for number in range(2000)).encode())
    (folder / "e.txt.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "f.txt.gz").write_bytes(b"this is not compressed at all")
    (folder / "g.txt").write_bytes("no mark\n".encode("utf-16-le"))
    (folder / "h.parquet").write_bytes(b"no columns")
    rejects = tmp_path / "rejects.jsonl"
    done = train(tmp_path / "v", folder, "--rejects", rejects)
    assert done.exit_code == 0, done.output
    rows = [
        ("a.jsonl", 2, "field 'text' is not text: 5"),
        ("a.jsonl", 3, "not JSON: Unterminated string starting at in column 10"),
        ("b.csv", 3, "not CSV: ',' expected after '\"'"),
        ("b.csv", 4, "the text is not valid Unicode"),
        ("d.txt.gz", 2, f"{DAMAGED}: what follows the gzip data is not gzip"),
        ("e.txt.gz", 1, f"{DAMAGED}: the compressed data is cut short"),
        ("f.txt.gz", 1, f"{DAMAGED}: incorrect header check"),
        ("g.txt", 1, f"{DAMAGED}: the text looks like UTF-16 without a byte order mark: save it as UTF-8"),
        ("h.parquet", 1, "the file cannot be read as Parquet: "),
    ]
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    for row, (name, line, reason) in zip(kept, rows, strict=True):
        assert (row["source"], row["line"]) == (f"{folder}/{name}", line) and row["reason"].startswith(reason)
    *lines, replaced, count = told(done)
    assert lines == [f"{row['source']}:{row['line']}: {row['reason']}" for row in kept]
    assert replaced == f"note: 1 byte sequence that is not UTF-8 became U+FFFD, in {folder}/c.txt"
    assert count.startswith(f"note: 9 rows were not read: 4 {DAMAGED}; ")
    found = counts(tmp_path / "v")
    numbered = [word for word in found if word.startswith("word")]
    # Of the word that the damage cuts, nothing is left.
    assert 0 < len(numbered) < 2000 and {*numbered} == {f"word{number}" for number in range(len(numbered))}
    words = "good bad field fine kept an old caf\N{REPLACEMENT CHARACTER} line two whole text"
    assert {*found} - {*numbered} == {*words.split()}


def test_counts_of_bad_rows_are_among_the_events(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "good text"}\n[]\n{\n')
    done = train(tmp_path / "v", tmp_path / "a.jsonl", "--json")
    assert done.exit_code == 0, done.output
    finished = json.loads(done.stdout.splitlines()[-1])
    assert (finished["bad_rows"], finished["reasons"]) == (2, {"not a JSON object": 1, "not JSON": 1})


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"id,text,text\n1,first,second\n", [], "column 'text' is in the header twice: rename one, so that none of their"),
        (b"id,headline\n1,x\n", [], "no field text, content, body: name one with --text-field; the fields are id, headline"),
        (b"id,text\n1,x\n", ["--text-field", "abstract"], "no field 'abstract'; the fields are id, text"),
    ],
)
def test_a_table_without_one_text_is_refused_before_anything_is_read(
    tmp_path: Path, content: bytes, options: list[str], message: str
):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    done = train(tmp_path / "v", path, *options)
    assert done.exit_code == 1 and done.stderr.startswith(f"shoal: {path}: {message}") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_several_text_fields(tmp_path: Path):
    (tmp_path / "a.csv").write_text("head,lead,rest\none,two,three\n")
    assert train(tmp_path / "v", tmp_path / "a.csv", "--text-field", "lead", "--text-field", "head").exit_code == 0
    assert counts(tmp_path / "v") == {"one": 1, "two": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.txt", "no such file or folder"),
        ("nothing*.txt", "no .jsonl, .ndjson, .csv, .tsv, .parquet, .txt, .md, .rst or plain text file matches"),
        ("void", "no .jsonl, .ndjson, .csv, .tsv, .parquet, .txt, .md, .rst or plain text files in this folder"),
        ("page.html", "not a .jsonl, .ndjson, .csv, .tsv, .parquet, .txt, .md, .rst or plain text file (.gz and"),
        ("/dev/null", "neither a file nor a folder"),
        ("-", "standard input is not read here: write it to a file first"),
    ],
)
def test_a_corpus_that_cannot_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str):
    monkeypatch.chdir(tmp_path)
    Path("void").mkdir()
    Path("page.html").touch()
    done = train(tmp_path / "v", given)
    assert done.exit_code == 1 and done.stderr.startswith(f"shoal: {given}: {message}") and done.stderr.count("\n") == 1


def test_bad_rows_are_named_again_when_a_training_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.jsonl").write_text('{"text": "good words here"}\n[]\n')
    rejects = tmp_path / "rejects.jsonl"

    def fail(*_: object) -> None:
        raise TrainingError("v: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(train_job, "_save", fail)
        assert train(tmp_path / "v", tmp_path / "a.jsonl", "--rejects", rejects).exit_code == 1
    before = rejects.read_bytes()
    rejects.unlink()
    done = train(tmp_path / "v", tmp_path / "a.jsonl", "--rejects", rejects)
    assert done.exit_code == 0 and "resuming: " in done.stderr and "of the corpus is read" not in done.stderr
    assert told(done) == [
        f"{tmp_path}/a.jsonl:2: not a JSON object",
        "note: 1 row was not read: 1 not a JSON object",
    ]
    assert rejects.read_bytes() == before and before.count(b"\n") == 1
