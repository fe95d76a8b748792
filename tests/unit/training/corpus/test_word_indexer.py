from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.encoding import LONGEST_WORD
from shoal.workers.training.word2vec.corpus import whitespace_indexer
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.whitespace_indexer import WhitespaceIndexer
from shoal.workers.training.word2vec.corpus.word_indexer import TokenizerIndexer, WordIndexer
from shoal.workers.training.word2vec.learner import SENTENCE_END

# All white space of Unicode, what resembles it in UTF-8, and letters of one to four bytes.
SPACES = [character for character in map(chr, range(0x3001)) if character.isspace()]
LETTERS = [
    *"abc\0\x1b\x7f",
    *"\x84\x9f\xa1ß\u1681\u180e\u200b\u2027\u202a\u205e\u2060\u3001\u4000\ufeff\ufffd",
    "\N{GRINNING FACE}",
]
TEXTS = st.text(st.sampled_from([*SPACES, *LETTERS, "\n", " "]), max_size=200)


def numbered(indexer: WordIndexer, text: str, cut: int) -> tuple[list[int], list[str]]:
    """The result for a text in two blocks, cut at an allowed position."""
    positions = [position for position in range(len(text)) if text[position].isspace()]
    cut = positions[cut % len(positions)] + 1 if positions else 0
    blocks = [text[begin:end].encode() for begin, end in pairwise([0, cut, len(text)])]
    ids = np.concatenate([*map(indexer.ids, blocks), indexer.end()])
    assert ids.dtype == np.int32
    return ids.tolist(), indexer.words()


def by_hand(text: str, longest: int) -> list[list[str]]:
    lines = [line.split() for line in text.split("\n")]
    return [line[begin : begin + longest] for line in lines for begin in range(0, len(line), longest)]


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, cut=st.integers(0, 300), longest=st.integers(1, 10))
def test_both_indexers_find_the_words_and_sentences_that_python_does(text: str, cut: int, longest: int) -> None:
    corpus_settings = CorpusSettings(max_sentence=longest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whitespace_indexer, "_SLOTS", 2)
        patch.setattr(whitespace_indexer, "_LETTERS", 4)
        ids, words = numbered(WhitespaceIndexer(corpus_settings), text, cut)
    assert (ids, words) == numbered(TokenizerIndexer(corpus_settings), text, cut)
    assert len(set(words)) == len(words)
    sentences: list[list[str]] = [[]]
    for number in ids:
        if number == SENTENCE_END:
            sentences.append([])
        else:
            sentences[-1].append(words[number])
    assert sentences == [*by_hand(text, longest), []]


def test_buffers_grow_with_the_words() -> None:
    text = " ".join(f"w{number % 70_000}" for number in range(140_000))
    indexer = WhitespaceIndexer(CorpusSettings(max_sentence=1_000_000))
    assert indexer.ids(text.encode()).tolist() == [*range(70_000), *range(70_000)]
    assert indexer.words() == text.split()[:70_000]
    assert len(indexer) == 70_000


@pytest.mark.parametrize("indexer", [WhitespaceIndexer(CorpusSettings()), TokenizerIndexer(CorpusSettings())])
def test_the_rest_of_a_word_that_is_too_long_is_cut_off_between_characters(indexer: WordIndexer) -> None:
    just, long, longer = "x" * LONGEST_WORD, "y" * (LONGEST_WORD + 1), "z" + "語" * LONGEST_WORD
    text = f"{just} {long} {longer} {long}z {longer}".encode()
    assert indexer.ids(text).tolist() == [0, 1, 2, 1, 2]
    assert indexer.words() == [just, "y" * LONGEST_WORD, "z" + "語" * 85]
    # The truncated word is the same word when it occurs by itself.
    assert indexer.ids(b"y" * LONGEST_WORD).tolist() == [1]
