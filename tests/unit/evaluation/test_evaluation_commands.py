"""The commands `shoal eval` and `shoal similar`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shoal.client.cli import main

VECTORS = {"man": "0 1 0", "woman": "0 0 1", "king": "2 1 0", "queen": "2 0 1", "boy": "-2 1 0", "girl": "-2 0 1"}
QUESTIONS = ": royal\nman king woman queen\nman king woman EMPRESS\n: gram1-young\nman boy woman girl\nboy man girl king\n"


def shoal(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def printed(*arguments: object) -> Any:
    done = shoal(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def failed(*arguments: object) -> str:
    done = shoal(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("shoal: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text(f"{len(VECTORS)} 3\n" + "".join(f"{word} {numbers}\n" for word, numbers in VECTORS.items()))
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.txt"
    path.write_text(QUESTIONS)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    path.write_text("word1\tword2\tscore\nKing\tqueen\t9\nman\tking\t5\nboy\tqueen\t1\nman\temperor\t3\n")
    return path


def test_analogies_of_a_table(table: Path, questions: Path):
    result = printed("eval", "analogy", table, questions)
    assert result["sections"] == [
        {"name": "royal", "kind": "semantic", "right": 1, "answered": 1, "asked": 2, "accuracy": 1.0, "coverage": 0.5},
        {
            "name": "gram1-young",
            "kind": "syntactic",
            "right": 1,
            "answered": 2,
            "asked": 2,
            "accuracy": 0.5,
            "coverage": 1.0,
        },
    ]
    assert result["overall"] == {"right": 2, "answered": 3, "asked": 4, "accuracy": 2 / 3, "coverage": 0.75}
    assert (result["semantic"]["right"], result["syntactic"]["answered"], result["candidates"]) == (1, 2, 6)


def test_analogies_of_the_commonest_words_alone(table: Path, questions: Path):
    result = printed("eval", "analogy", table, questions, "--restrict", 4)
    assert result["candidates"] == 4
    assert result["overall"] == {"right": 1, "answered": 1, "asked": 4, "accuracy": 1.0, "coverage": 0.25}
    none = printed("eval", "analogy", table, questions, "--restrict", 1)["overall"]
    assert (none["answered"], none["accuracy"]) == (0, None)


def test_a_word_that_is_spelled_with_a_joiner_is_printed_with_it(tmp_path: Path):
    word = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    (tmp_path / "fa.vec").write_text(f"{word} 1 2\nsea 2 1\n", encoding="utf-8")
    done = shoal("similar", tmp_path / "fa.vec", "sea")
    assert word in done.output


def test_a_person_reads_a_table(table: Path, questions: Path, pairs: Path):
    lines = shoal("eval", "analogy", table, questions).stdout.splitlines()
    assert lines[0].split() == ["section", "accuracy", "right", "answered", "asked", "coverage"]
    assert [line.split() for line in lines[1:3]] == [
        ["royal", "100.0%", "1", "1", "2", "50.0%"],
        ["gram1-young", "50.0%", "1", "2", "2", "100.0%"],
    ]
    assert lines[-2].split() == ["overall", "66.7%", "2", "3", "4", "75.0%"]
    assert lines[-1] == "Answers were chosen from 6 words."
    lines = shoal("eval", "similarity", table, pairs).stdout.splitlines()
    assert lines[1].split() == ["pairs.tsv", "1.0000", "3", "4", "75.0%"]
    assert shoal("similar", table, "king", "-n", 1).stdout.split() == ["word", "cosine", "queen", "0.8000"]


def test_similarity_of_a_table(table: Path, pairs: Path):
    other = pairs.with_name("others.tsv")
    other.write_bytes(pairs.read_bytes())
    result = printed("eval", "similarity", table, pairs, other)
    one = {"file": str(pairs), "spearman": 1.0, "answered": 3, "asked": 4, "coverage": 0.75}
    assert result == {"model": str(table), "files": [one, one | {"file": str(other)}]}
    assert printed("eval", "similarity", table, pairs, "--match-case")["files"][0]["answered"] == 2


def test_similar_words(table: Path):
    result = printed("similar", table, "king", "-n", 2)
    assert [one["word"] for one in result["words"]] == ["queen", "man"]
    assert result["words"][0]["cosine"] == pytest.approx(0.8)
    result = printed("similar", table, "--positive", "king", "--positive", "woman", "--negative", "man", "--count", 1)
    assert (result["positive"], result["negative"], result["words"][0]["word"]) == (["king", "woman"], ["man"], "queen")
    assert printed("similar", table, "king", "--restrict", 3)["words"][0]["word"] == "man"


def test_a_model_embeds_words_as_texts(tmp_path: Path, questions: Path, pairs: Path):
    result = printed("eval", "analogy", "hashing:64", questions)
    assert (result["candidates"], result["overall"]["answered"]) == (7, 4)
    listed = tmp_path / "words.txt"
    listed.write_text("king\nkings\nlighthouse keeper\nman\nwoman\nqueen\n")
    result = printed("eval", "analogy", "hashing:64", questions, "--vocabulary", listed)
    assert (result["candidates"], result["overall"]["answered"]) == (6, 1)
    assert printed("eval", "analogy", "hashing:64", questions, "--vocabulary", listed, "--restrict", 2)["candidates"] == 2
    assert printed("eval", "similarity", "hashing:64", pairs)["files"][0]["coverage"] == 1.0
    found = printed("similar", "hashing:64", "lighthouse", "--vocabulary", listed, "-n", 1)
    assert found["words"][0]["word"] == "lighthouse keeper"


def test_failures_are_one_line(table: Path, questions: Path, pairs: Path, tmp_path: Path):
    assert f"{tmp_path}/no.txt: no such file or folder" in failed("eval", "analogy", table, tmp_path / "no.txt")
    assert f"'{tmp_path}/no.txt': no such file" in failed("eval", "similarity", tmp_path / "no.txt", pairs)
    assert "not word vectors" in failed("similar", questions, "king")
    assert "no vector for 'King' among 6 words; it has 'king'" in failed("similar", table, "King")
    empty = tmp_path / "empty"
    empty.touch()
    assert "no words in this file" in failed("similar", "hashing", "king", "--vocabulary", empty)
    assert "there is no such folder or file" in failed("similar", "./nothing", "king")
    assert "hashing:0" in failed("eval", "similarity", "hashing:0", pairs)


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval"],
        ["eval", "nonsense"],
        ["eval", "analogy", "TABLE"],
        ["eval", "analogy", "TABLE", "QUESTIONS", "--restrict", "-1"],
        ["eval", "analogy", "TABLE", "QUESTIONS", "--vocabulary", "QUESTIONS"],
        ["eval", "similarity", "TABLE"],
        ["similar", "TABLE"],
        ["similar", "TABLE", "king", "-n", "0"],
        ["similar", "hashing", "king"],
    ],
)
def test_wrong_usage(table: Path, questions: Path, arguments: list[str]):
    paths = {"TABLE": str(table), "QUESTIONS": str(questions)}
    done = shoal(*(paths.get(argument, argument) for argument in arguments))
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.parametrize("command", [["eval", "analogy"], ["eval", "similarity"], ["similar"]])
def test_help_teaches_by_example(command: list[str]):
    done = shoal(*command, "--help")
    assert done.exit_code == 0
    assert f"Examples:\n    shoal {' '.join(command)} ./vectors" in done.stdout
    assert "--json" in done.stdout and "MODEL is a file of word vectors" in done.stdout
