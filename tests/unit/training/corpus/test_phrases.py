from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.training.word2vec.corpus import counting, phrases, vocabulary
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.counting import UnitCounts
from shoal.workers.training.word2vec.corpus.phrases import join_phrases
from shoal.workers.training.word2vec.corpus.vocabulary import merge_counts
from support.training.encoded_text import scan, sentences_of, write_corpus

LINES = st.lists(st.lists(st.sampled_from("abcde"), max_size=12), min_size=1, max_size=30)


def joined(path: Path, corpus_settings: CorpusSettings) -> list[list[str]]:
    parts = join_phrases(scan(path, corpus_settings), corpus_settings, path.parent / "encoded")
    return [sentence for part in parts for sentence in sentences_of(part)]


def plainly_joined(sentences: list[list[str]], corpus_settings: CorpusSettings) -> Iterator[list[str]]:
    """The paper's rule, literally."""
    counts = Counter(word for sentence in sentences for word in sentence)
    pairs = Counter(pair for sentence in sentences for pair in pairwise(sentence))
    total = counts.total()

    def is_phrase(first: str, second: str) -> bool:
        if min(counts[first], counts[second]) <= corpus_settings.phrase_discount:
            return False
        score = (pairs[first, second] - corpus_settings.phrase_discount) / (counts[first] * counts[second]) * total
        return score > corpus_settings.phrase_threshold

    for sentence in sentences:
        found: list[str] = []
        position = 0
        while position < len(sentence):
            if position + 1 < len(sentence) and is_phrase(sentence[position], sentence[position + 1]):
                found.append("_".join(sentence[position : position + 2]))
                position += 2
            else:
                found.append(sentence[position])
                position += 1
        yield found


@settings(max_examples=30, deadline=None)
@given(lines=LINES, unit_bytes=st.integers(20, 200), threshold=st.sampled_from([0.0, 0.7, 1.5]), passes=st.integers(0, 2))
def test_phrases_are_those_of_the_papers_rule_however_the_text_is_split(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]], unit_bytes: int, threshold: float, passes: int
) -> None:
    path = write_corpus(tmp_path_factory.mktemp("corpus"), "\n".join(map(" ".join, lines)) + "\nend")
    corpus_settings = CorpusSettings(unit_bytes=unit_bytes, phrases=passes, phrase_threshold=threshold, phrase_discount=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_BLOCK_IDS", 9)
        for module in (counting, vocabulary):
            patch.setattr(module, "PARTITIONS", 3)
        patch.setattr(phrases, "RUN_PAIRS", 3)
        found = joined(path, corpus_settings)
    expected = [line for line in [*lines, ["end"]] if line]
    for _ in range(passes):
        expected = list(plainly_joined(expected, corpus_settings))
    assert found == expected


def test_words_that_go_together_are_joined_and_twice_makes_longer_phrases(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "new york city a b c d\nb d c a\n" * 30)
    once, twice = (CorpusSettings(phrases=passes, phrase_threshold=6) for passes in (1, 2))
    assert joined(path, once)[:2] == [["new_york", "city", "a", "b", "c", "d"], ["b", "d", "c", "a"]]
    assert joined(path, twice)[:2] == [["new_york_city", "a", "b", "c", "d"], ["b", "d", "c", "a"]]


def test_a_phrase_and_a_word_of_the_same_letters_are_counted_together(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "new york\nother words here\n" * 10 + "new_york\n" * 3)
    corpus_settings = CorpusSettings(phrases=1, phrase_threshold=1, phrase_discount=2)
    counts = merge_counts(join_phrases(scan(path, corpus_settings), corpus_settings, tmp_path / "encoded"))
    assert counts["new_york"] == 13
    # Words that now occur only in phrases are not words by themselves.
    assert "new" not in counts


def test_joining_may_be_done_in_another_process_and_repeated(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "new york\nother words here\n" * 10)
    corpus_settings = CorpusSettings(phrases=1, phrase_threshold=1, unit_bytes=100)
    parts = scan(path, corpus_settings)

    def backwards(function: Callable[[UnitCounts], Any], parts: Sequence[UnitCounts]) -> list[Any]:
        return [function(part) for part in reversed(parts)][::-1]

    first = join_phrases(parts, corpus_settings, tmp_path / "encoded")
    assert join_phrases(parts, corpus_settings, tmp_path / "encoded", backwards) == first
    assert sentences_of(first[0])[0] == ["new_york"]
