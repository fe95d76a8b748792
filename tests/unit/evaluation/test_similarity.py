from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.evaluation.candidates import WordCandidates
from shoal.workers.evaluation.errors import EvaluationError
from shoal.workers.evaluation.similarity import (
    SimilarityScore,
    WordPair,
    average_ranks,
    read_pairs,
    score_similarity,
    spearman,
)


def test_ranks_of_equals():
    assert average_ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4, 1, 4, 2, 4]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_spearman_is_scipys(values: list[tuple[int, int]]):
    stats = pytest.importorskip("scipy.stats")
    one, other = (np.array(column, dtype=np.float64) for column in zip(*values, strict=True))
    ours = spearman(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(stats.spearmanr(one, other)[0], abs=1e-12)


def test_spearman_is_not_defined_for_less_than_two():
    assert spearman(np.array([]), np.array([])) is None
    assert spearman(np.array([1.0]), np.array([1.0])) is None


WORDS = ("cat", "tiger", "car", "Cat", "nought")
VECTORS = np.array([[1, 0], [1, 0.2], [0, 1], [0, 1], [0, 0]], dtype=np.float32)


def test_pairs_with_unknown_words_are_left_out_and_counted():
    pairs = [
        WordPair("cat", "tiger", 9),
        WordPair("TIGER", "car", 3),
        WordPair("Cat", "car", 1),
        WordPair("cat", "dog", 5),
        WordPair("nought", "cat", 5),
    ]
    score = score_similarity(WordCandidates(WORDS, VECTORS), pairs)
    assert score == SimilarityScore(1.0, 3, 5) and score.coverage == 0.6
    assert score_similarity(WordCandidates(WORDS, VECTORS), pairs, ignore_case=False) == SimilarityScore(-1.0, 2, 5)
    assert score_similarity(WordCandidates(WORDS, VECTORS), pairs[3:]) == SimilarityScore(None, 0, 2)


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
        ("a\tb\t1\nc\td\n", "pairs:2: 2 columns; expected word1, word2 and score"),
        ("a\tb\t1\nc\td\tmuch\n", "pairs:2: the score 'much' is not a number"),
        ("a\tb\t1\nc\td\tnan\n", "pairs:2: the score 'nan' is not a number"),
        ("a\tb\t1\n\td\t2\n", "pairs:2: "),
        ("a\tb\t1\nc\t\t2\n", "pairs:2: a word is missing"),
    ],
)
def test_malformed_pairs(tmp_path: Path, text: str, message: str):
    with pytest.raises(EvaluationError, match=message):
        read_pairs(written(tmp_path, text))
