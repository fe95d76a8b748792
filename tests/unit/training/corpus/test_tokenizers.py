from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shoal.workers.encoding.model import Truncation
from shoal.workers.encoding.word_vectors.word_lookup import WordLookup
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.tokenizers import tokenizer_of
from shoal.workers.training.word2vec.corpus.vocabulary import merge_counts
from shoal.workers.training.word2vec.errors import TrainingError
from support.training.encoded_text import scan, sentences_of, words_of_all, write_corpus

TEXT = "Don\N{RIGHT SINGLE QUOTATION MARK}t use e-mail, cafe\u0301 (U.S. style)!\tİstanbul ΟΔΟΣ"


def test_white_space_separates_words(tmp_path: Path) -> None:
    (part,) = scan(write_corpus(tmp_path, "Don't, stop\N{IDEOGRAPHIC SPACE}here!\n"), CorpusSettings())
    assert sentences_of(part) == [["Don't,", "stop", "here!"]]


def test_unicode_finds_the_words_that_a_table_finds_in_a_query(tmp_path: Path) -> None:
    for lowercase in (False, True):
        (part,) = scan(write_corpus(tmp_path, TEXT), CorpusSettings(tokenizer="unicode", lowercase=lowercase))
        words = words_of_all([part])
        numbers = {word: number for number, word in enumerate(words)}
        # Each of the words is looked up in the table, none in its parts.
        found, _ = WordLookup(numbers, 100).find(TEXT, Truncation.END)
        assert [words[number] for number in found.tolist()] == words
    assert words == ["don't", "use", "e-mail", "café", "u.s", "style", "i̇stanbul", "οδος"]


def test_lower_case_counts_all_forms_as_one(tmp_path: Path) -> None:
    (part,) = scan(write_corpus(tmp_path, "The the THE cat"), CorpusSettings(lowercase=True))
    assert sentences_of(part) == [["the", "the", "the", "cat"]]
    assert merge_counts([part]) == {"the": 3, "cat": 1}


def test_a_user_function_splits_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_words.py").write_text("def by_comma(line):\n    return (part.strip() for part in line.split(','))\n")
    monkeypatch.syspath_prepend(tmp_path)
    (part,) = scan(write_corpus(tmp_path, "A, b\nc\n\n"), CorpusSettings(tokenizer="my_words:by_comma", lowercase=True))
    assert sentences_of(part) == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "tokenizer no_such_module:f: cannot be imported: No module named 'no_such_module'"),
        ("string:no_such", "tokenizer string:no_such: cannot be imported: module 'string' has no attribute 'no_such'"),
        ("string:digits", "tokenizer string:digits: not a function, but str"),
        ("os:path:join", "tokenizer is 'os:path:join', must be whitespace, unicode or package.module:function"),
        ("\u0939\u093f:f", "tokenizer \u0939\u093f:f: cannot be imported: No module named '\u0939\u093f'"),
        ("os.path.join", "tokenizer is 'os.path.join', must be whitespace, unicode or package.module:function"),
    ],
)
def test_an_invalid_tokenizer_is_refused(name: str, message: str) -> None:
    with pytest.raises(TrainingError) as raised:
        tokenizer_of(name)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no\\nidea')", "tokenizer bad_words:f: ValueError: no idea"),
        ("return None", "tokenizer bad_words:f: TypeError: 'NoneType' object is not iterable"),
        ("return [5]", "tokenizer bad_words:f: returned an invalid word: 5"),
        ("return [['a']]", "tokenizer bad_words:f: returned an invalid word: unhashable type: 'list'"),
        ("return ['New York']", "tokenizer bad_words:f: returned an invalid word: 'New York'"),
        ("return ['']", "tokenizer bad_words:f: returned an invalid word: ''"),
        ("return ['\\ud800']", "tokenizer bad_words:f: returned an invalid word: '\\ud800'"),
    ],
)
def test_a_function_that_fails_or_gives_no_words_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "bad_words.py").write_text(f"def f(line):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_words", raising=False)
    with pytest.raises(TrainingError) as raised:
        scan(write_corpus(tmp_path, "some words"), CorpusSettings(tokenizer="bad_words:f"))
    assert str(raised.value) == message
