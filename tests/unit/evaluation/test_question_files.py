"""Questions as they are published, and files of them with faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cluster.jobs.evaluation import read_questions
from shoal.workers.evaluation import EvaluationError, Question, QuestionSection, words_of
from support.shared_data import shared_data


def written(folder: Path, text: str) -> Path:
    path = folder / "questions.txt"
    path.write_bytes(text.encode())
    return path


def test_sections_of_googles_form(tmp_path: Path):
    text = "\ufeff: capital\r\nAthens Greece Oslo Norway\r\n\r\n:gram1-adverb\ncalm\tcalmly  slow slowly\n: empty\n"
    sections = read_questions(written(tmp_path, text))
    assert sections == [
        QuestionSection("capital", False, (Question("Athens", "Greece", "Oslo", "Norway"),)),
        QuestionSection("gram1-adverb", True, (Question("calm", "calmly", "slow", "slowly"),)),
        QuestionSection("empty", False, ()),
    ]
    assert list(words_of(sections)) == ["Athens", "Greece", "Oslo", "Norway", "calm", "calmly", "slow", "slowly"]


def test_lines_without_sections_are_one(tmp_path: Path):
    assert read_questions(written(tmp_path, "a b c d\n")) == [
        QuestionSection("questions", False, (Question("a", "b", "c", "d"),))
    ]


def test_sections_of_a_csv_file_are_its_types(tmp_path: Path):
    text = ",type,word1,word2,word3,target\n0,JJ_JJR,good,better,rough,rougher\n1,NN,city,\"city's\",boy,boy's\n"
    text += "2,JJ_JJR,big,bigger,odd,odder\n"
    assert read_questions(written(tmp_path, text)) == [
        QuestionSection(
            "JJ_JJR", True, (Question("good", "better", "rough", "rougher"), Question("big", "bigger", "odd", "odder"))
        ),
        QuestionSection("NN", True, (Question("city", "city's", "boy", "boy's"),)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no questions in this file"),
        (": capital\n\n", "no questions in this file"),
        (": capital\nAthens Greece Oslo\n", "questions.txt:2: wrong number of words: 3, expected 4, or ': '"),
        ("type,word1,word2,word3,target\nx,a,b,c\n", "questions.txt:2: wrong number of fields: 4, the header has 5"),
        ("type,word1,word2,word3,target\nx,a,b,,d\n", "questions.txt:2: a word is missing"),
        ("type,word1,word2,word3,target\n", "no questions in this file"),
        ("word1,word2,word3,word3,target\n1,2,3,4,5\n", "questions.txt: column 'word3' is in the header twice"),
        ('word1,word2,word3,target\na,"b" x,c,d\n', "questions.txt:2: not CSV: ',' expected after"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, message: str):
    with pytest.raises(EvaluationError, match=message) as raised:
        read_questions(written(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(EvaluationError, match=r"nothing\.txt: no such file or folder$"):
        read_questions(tmp_path / "nothing.txt")
    (tmp_path / "latin").write_bytes(b": caf\xe9\n")
    with pytest.raises(EvaluationError, match=r"latin:1: not UTF-8: byte 0xe9 in column 6$"):
        read_questions(tmp_path / "latin")


def test_the_real_files():
    google = read_questions(shared_data("words/analogies/questions-words.dev.txt"))
    assert [(section.name, section.syntactic, len(section.questions)) for section in google][1:3] == [
        ("family", False, 506),
        ("gram1-adjective-to-adverb", True, 992),
    ]
    assert sum(len(section.questions) for section in google) == 7284
    msr = read_questions(shared_data("words/analogies/msr-syntactic.csv"))
    assert len(msr) == 16 and all(section.syntactic and len(section.questions) == 500 for section in msr)
