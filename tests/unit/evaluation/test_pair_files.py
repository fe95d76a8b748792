"""Pairs of words with scores, in the forms in which they are published, and files of them with faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cluster.jobs.evaluation import read_pairs
from shoal.workers.evaluation import EvaluationError, WordPair


def written(folder: Path, text: str) -> Path:
    path = folder / "pairs"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "love\tsex\t6.77\nbig apple\tcat\t7\n",
        "word1\tword2\tscore\nlove\tsex\t6.77\nbig apple\tcat\t7\n",
        "# a comment\nWord 1,Word 2,Human (mean)\nlove,sex,6.77\n\nbig apple,cat,7\n",
        'word1,word2,score\n"love",sex,6.77\n"big apple",cat,7\n',
        "POS\tword2\tScore\tWord1\nN\tsex\t6.77\tlove\nN\tcat\t7\tbig apple\n",
        "love\tsex\t6.77\tN\nbig apple\tcat\t7\tN\n",
    ],
)
def test_forms_of_files(tmp_path: Path, text: str):
    assert read_pairs(written(tmp_path, text)) == [WordPair("love", "sex", 6.77), WordPair("big apple", "cat", 7.0)]


def test_white_space_parts_columns_too(tmp_path: Path):
    assert read_pairs(written(tmp_path, "sun  sunlight 50\n")) == [WordPair("sun", "sunlight", 50.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no pairs in this file"),
        ("word1\tword2\tscore\n", "no pairs in this file"),
        ("a\tb\t1\nc\td\n", "pairs:2: wrong number of fields: 2, expected word1, word2 and score"),
        ("a\tb\t1\nc\td\tmuch\n", "pairs:2: the score is not a number: 'much'"),
        ("a\tb\t1\nc\td\tnan\n", "pairs:2: the score is not a number: 'nan'"),
        ("a\tb\t1\n\td\t2\n", "pairs:2: a word is missing"),
        ('a,b,1\n"c" d,e,2\n', "pairs:2: not CSV: ',' expected after"),
        ("word1,score,word2,word2\na,1,b,c\n", "pairs: column 'word2' is in the header twice"),
        ("a\tb\t1\nc\t\t2\n", "pairs:2: a word is missing"),
    ],
)
def test_malformed_pairs(tmp_path: Path, text: str, message: str):
    with pytest.raises(EvaluationError, match=message):
        read_pairs(written(tmp_path, text))
