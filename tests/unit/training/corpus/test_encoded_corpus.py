from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from shoal.workers.runtime import is_partial
from shoal.workers.training.word2vec.corpus import counting, vocabulary
from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.corpus.encoded_corpus import MANIFEST, VOCABULARY, EncodedCorpus, encode_unit
from shoal.workers.training.word2vec.corpus.vocabulary import build_vocabulary, merge_counts
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import SENTENCE_END
from shoal.workers.training.word2vec.settings import Word2VecSettings
from support.training.encoded_text import scan, write_corpus

LINES = st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=12), min_size=1, max_size=40)


def encode(
    path: Path, corpus_settings: CorpusSettings, settings: Word2VecSettings, span_words: int = 50_000
) -> EncodedCorpus:
    parts = scan(path, corpus_settings)
    words = build_vocabulary(merge_counts(parts), settings)
    folder = path.parent / "encoded"
    return EncodedCorpus.write(folder, "digest", words, [encode_unit(part, words, folder, span_words) for part in parts])


def sentences_of(corpus: EncodedCorpus) -> list[list[str]]:
    sentences: list[list[str]] = [[]]
    for number in chain.from_iterable(corpus.ids(span).tolist() for span in corpus.spans):
        if number == SENTENCE_END:
            sentences.append([])
        else:
            sentences[-1].append(corpus.vocabulary.words[number])
    assert sentences.pop() == []
    return sentences


@examples(max_examples=40, deadline=None)
@given(lines=LINES, min_count=st.integers(1, 5), span_words=st.integers(1, 30))
def test_encoding_drops_rare_words(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]], min_count: int, span_words: int
) -> None:
    # Two letters that are common in any case.
    lines = [*lines, ["x", "y"] * 5]
    path = write_corpus(tmp_path_factory.mktemp("corpus"), "\n".join(map(" ".join, lines)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_BLOCK_IDS", 7)
        for module in (counting, vocabulary):
            patch.setattr(module, "PARTITIONS", 3)
        corpus = encode(path, CorpusSettings(), Word2VecSettings(min_count=min_count), span_words)
    counts = Counter(chain.from_iterable(lines))
    kept = [[word for word in line if counts[word] >= min_count] for line in lines]
    expected = [line for line in kept if line]
    assert sentences_of(corpus) == expected
    assert corpus.words == sum(map(len, expected))
    assert corpus.sentences == len(expected)
    for span in corpus.spans:
        ids = corpus.ids(span)
        assert ids[-1] == SENTENCE_END
        assert span.words == np.count_nonzero(ids != SENTENCE_END)
        # Without its last sentence it is shorter than the target.
        assert (
            np.count_nonzero(ids[: np.flatnonzero(np.append(SENTENCE_END, ids[:-1]) == SENTENCE_END)[-1]] >= 0) < span_words
        )


def test_an_encoded_corpus_opens_as_it_was_written(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "a b a c\nb a d\n" * 100)
    written = encode(path, CorpusSettings(unit_bytes=300), Word2VecSettings(min_count=1), 50)
    opened = EncodedCorpus.open(tmp_path / "encoded")
    assert (opened.digest, opened.words, opened.sentences, opened.spans) == ("digest", 700, 200, written.spans)
    assert opened.vocabulary.digest() == written.vocabulary.digest()
    assert len({span.unit for span in opened.spans}) == 5
    assert sentences_of(opened) == [["a", "b", "a", "c"], ["b", "a", "d"]] * 100


def test_ids_are_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    corpus = encode(write_corpus(tmp_path, "a b a"), CorpusSettings(), Word2VecSettings(min_count=1))
    ids = corpus.ids(corpus.spans[0])
    assert ids.dtype == np.int32
    assert ids.tolist() == [0, 1, 0, SENTENCE_END]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 5


def test_how_the_text_is_split_changes_neither_the_vocabulary_nor_the_words(tmp_path: Path) -> None:
    text = " ".join(f"w{number * number % 61}" for number in range(4000))
    corpora = [
        encode(write_corpus(tmp_path / str(size), text), CorpusSettings(unit_bytes=size), Word2VecSettings(min_count=3))
        for size in (500, 3000, 1 << 20)
    ]
    assert len({corpus.vocabulary.digest() for corpus in corpora}) == 1
    assert len({" ".join(chain.from_iterable(sentences_of(corpus))) for corpus in corpora}) == 1


def test_a_unit_without_a_known_word_has_no_span(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "rare\n" + "a b\n" * 20)
    corpus = encode(path, CorpusSettings(unit_bytes=4), Word2VecSettings(min_count=2))
    assert sentences_of(EncodedCorpus.open(tmp_path / "encoded")) == [["a", "b"]] * 20
    assert "unit-000000" not in {span.unit for span in corpus.spans}


def test_the_end_deletes_what_the_scan_and_dead_processes_left(tmp_path: Path) -> None:
    folder = tmp_path / "encoded"
    folder.mkdir()
    (folder / "unit-000000.encoded.0badcafe.partial").touch()
    (folder / "mine.txt").touch()
    encode(write_corpus(tmp_path, "a b a"), CorpusSettings(), Word2VecSettings(min_count=1))
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "mine.txt", "unit-000000.encoded", VOCABULARY]


def test_a_scan_that_is_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "a b a\n" * 20_000 + "stop\n")
    (tmp_path / "stopping.py").write_text(
        "import time\n"
        "def words(line):\n"
        "    if line == 'stop':\n"
        "        print('stopped', flush=True)\n"
        "        time.sleep(600)\n"
        "    return line.split()\n"
    )
    folder = tmp_path / "encoded"
    folder.mkdir()
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings\n"
        "from shoal.workers.training.word2vec.corpus.units import plan_units, utf8_file\n"
        "from shoal.workers.training.word2vec.corpus.counting import scan_unit\n"
        "reading = CorpusSettings(tokenizer='stopping:words', unit_bytes=60_000)\n"
        "for unit in plan_units([utf8_file(sys.argv[1])], reading): scan_unit(unit, reading, Path(sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", script, path, folder, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stopped\n"
        process.kill()
    left = [file.name for file in folder.iterdir()]
    assert any(map(is_partial, left))
    assert "unit-000000-000.words" in left
    with pytest.raises(TrainingError, match=r"manifest\.json: cannot be read: No such file"):
        EncodedCorpus.open(folder)
    encode(path, CorpusSettings(), Word2VecSettings(min_count=2))
    assert EncodedCorpus.open(folder).words == 60_000
    assert sorted(file.name for file in folder.iterdir()) == [MANIFEST, "unit-000000.encoded", VOCABULARY]


def test_a_unit_may_be_encoded_twice(tmp_path: Path) -> None:
    (part,) = scan(write_corpus(tmp_path, "a b a c\n" * 9), CorpusSettings())
    words = build_vocabulary(merge_counts([part]), Word2VecSettings(min_count=1))
    first = encode_unit(part, words, tmp_path / "encoded")
    assert encode_unit(part, words, tmp_path / "encoded") == first


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), r"manifest\.json: cannot be read: No such file"),
        (lambda folder: (folder / MANIFEST).write_text("{"), r"manifest\.json: damaged: "),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 1}'), r"manifest\.json: damaged: KeyError: 'units'"),
        (
            lambda folder: (folder / MANIFEST).write_text('{"format": 9}'),
            r"manifest\.json: format 9, but this version of Shoal reads format 1",
        ),
        (lambda folder: (folder / "unit-000000.encoded").write_bytes(b"1234"), r"encoded: has 4 bytes instead of 16"),
        (lambda folder: (folder / "unit-000000.encoded").unlink(), r"encoded: cannot be read: No such file"),
        (
            lambda folder: (folder / VOCABULARY).write_text("a 2\n"),
            r"vocabulary\.txt: differs from the vocabulary that was written",
        ),
        (lambda folder: (folder / VOCABULARY).write_text("a\n"), r"vocabulary\.txt: damaged: "),
        (lambda folder: (folder / VOCABULARY).unlink(), r"vocabulary\.txt: cannot be read: No such file"),
    ],
)
def test_a_damaged_corpus_is_refused_by_file_name(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    encode(write_corpus(tmp_path, "a b a"), CorpusSettings(), Word2VecSettings(min_count=1))
    damage(tmp_path / "encoded")
    with pytest.raises(TrainingError, match=message) as raised:
        EncodedCorpus.open(tmp_path / "encoded")
    assert "\n" not in str(raised.value)


def test_writing_that_fails_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "a b a")
    corpus = encode(path, CorpusSettings(), Word2VecSettings(min_count=1))
    before = json.loads((corpus.folder / MANIFEST).read_text())
    with pytest.raises(TrainingError, match="the corpus contains no word of the vocabulary"):
        EncodedCorpus.write(corpus.folder, "other", corpus.vocabulary, [])
    assert json.loads((corpus.folder / MANIFEST).read_text()) == before
