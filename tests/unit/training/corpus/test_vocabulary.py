from __future__ import annotations

import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.vocabulary import Vocabulary, build_vocabulary, merge_counts
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.settings import Word2VecSettings
from support.training.encoded_text import scan, write_corpus

EVERY = Word2VecSettings(min_count=1)


def test_the_commonest_word_is_first_and_equally_common_ones_go_by_their_characters() -> None:
    vocabulary = build_vocabulary({"b": 2, "ä": 2, "a": 2, "z": 7, "c": 1}, EVERY)
    assert vocabulary.words == ("z", "a", "b", "ä", "c")
    assert vocabulary.counts.tolist() == [7, 2, 2, 2, 1]
    assert vocabulary.counts.dtype == np.int64
    assert vocabulary.word_ids == {"z": 0, "a": 1, "b": 2, "ä": 3, "c": 4}


def test_rare_words_are_left_out_and_the_commonest_kept() -> None:
    counts = {"a": 5, "b": 4, "c": 4, "d": 3}
    assert build_vocabulary(counts, Word2VecSettings(min_count=4)).words == ("a", "b", "c")
    assert build_vocabulary(counts, Word2VecSettings(min_count=1, max_vocabulary=2)).words == ("a", "b")
    assert build_vocabulary(counts, Word2VecSettings(min_count=4, max_vocabulary=9)).words == ("a", "b", "c")


def test_a_vocabulary_without_a_word_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"no word of the corpus occurs 9 times \(min_count\)"):
        build_vocabulary({"a": 5}, Word2VecSettings(min_count=9))


def test_merged_counts_are_those_of_the_whole_in_any_order_of_the_parts(tmp_path: Path) -> None:
    words = [f"w{number * number % 997}" for number in range(20_000)]
    parts = scan(write_corpus(tmp_path, " ".join(words)), CorpusSettings(unit_bytes=5000))
    expected = Counter(words)
    assert len(parts) > 10
    assert merge_counts(parts) == expected
    random.Random(0).shuffle(parts)
    assert merge_counts(parts, 15) == {word: count for word, count in expected.items() if count >= 15}
    assert build_vocabulary(merge_counts(parts), EVERY).digest() == build_vocabulary(expected, EVERY).digest()


def test_a_corpus_without_a_word_is_refused(tmp_path: Path) -> None:
    parts = scan(write_corpus(tmp_path, " \n \n"), CorpusSettings())
    with pytest.raises(TrainingError, match="the corpus has no words"):
        merge_counts(parts)


def test_missing_counts_are_reported(tmp_path: Path) -> None:
    parts = scan(write_corpus(tmp_path, "a b"), CorpusSettings())
    parts[0].sections[0].distinct_words.unlink()
    with pytest.raises(TrainingError, match=r"unit-000000-000\.words: cannot be read: .*No such file"):
        merge_counts(parts)


def test_a_vocabulary_survives_its_file_and_pickling(tmp_path: Path) -> None:
    vocabulary = build_vocabulary({"语": 9, "a": 9, "x_y": 2}, EVERY)
    vocabulary.write(tmp_path / "vocabulary.txt")
    assert (tmp_path / "vocabulary.txt").read_text() == "a 9\n语 9\nx_y 2\n"
    assert vocabulary.word_ids["a"] == 0
    for other in (Vocabulary.read(tmp_path / "vocabulary.txt"), pickle.loads(pickle.dumps(vocabulary))):
        assert (other.words, other.counts.tolist(), other.digest()) == (
            vocabulary.words,
            vocabulary.counts.tolist(),
            vocabulary.digest(),
        )


def test_the_digest_depends_on_words_and_counts() -> None:
    variants = [{"a": 2, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "c": 1}, {"a": 2}]
    assert len({build_vocabulary(counts, EVERY).digest() for counts in variants}) == 4
