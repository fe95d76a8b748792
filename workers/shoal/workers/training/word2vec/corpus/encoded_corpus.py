"""The corpus as ids of the vocabulary: files that learners map into memory, cut into spans to train on.

The folder must be empty when the first unit is encoded into it, so that units of two corpora are never mixed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.runtime import error_line, is_partial, whole_file
from shoal.workers.training.word2vec.corpus.counting import UnitCounts, id_blocks, read_words
from shoal.workers.training.word2vec.corpus.vocabulary import Vocabulary
from shoal.workers.training.word2vec.errors import TrainingError, writing
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids

SPAN_WORDS = 50_000
MANIFEST, VOCABULARY = "manifest.json", "vocabulary.txt"
_FORMAT = 1
_SUFFIX = ".encoded"
_PROVISIONAL = (".ids", ".words", ".pairs")
_UNKNOWN = -2


@dataclass(frozen=True, slots=True)
class Span:
    """Some whole sentences of a unit: the ids from `begin` to `end` of its file, with `words` words."""

    unit: str
    begin: int
    end: int
    words: int


@dataclass(frozen=True, slots=True)
class UnitSpans:
    """The consecutive spans of a unit; none if it has no word of the vocabulary."""

    unit: str
    spans: tuple[Span, ...]
    sentences: int


def encode_unit(counts: UnitCounts, vocabulary: Vocabulary, folder: Path, span_words: int = SPAN_WORDS) -> UnitSpans:
    """Writes a unit's words as ids of the vocabulary to `folder`, without unknown words and empty sentences, and cuts them
    into spans: at the first end of a sentence after each `span_words` words.

    Encoding again writes the same file. Raises TrainingError when a file cannot be read or written.
    """
    spans = _Spans(counts.unit, span_words)
    sentences = 0
    path = _encoded_file(folder, counts.unit)
    with writing(path), whole_file(path) as file:
        for section in counts.sections:
            table = read_words(section)
            ids_of_words = map(vocabulary.word_ids.get, table["word"].to_pylist())
            final = np.full(section.distinct + 1, _UNKNOWN, dtype=np.int32)
            final[table["id"].to_numpy()] = [_UNKNOWN if id is None else id for id in ids_of_words]
            # Index -1 is the last element.
            final[SENTENCE_END] = SENTENCE_END
            ended = True
            for block in id_blocks(section.ids):
                ids, ended = _without_empty_sentences(final[block], ended)
                ends = np.flatnonzero(ids == SENTENCE_END)
                sentences += len(ends)
                spans.add(ends, len(ids))
                file.write(ids.tobytes())
    return UnitSpans(counts.unit, spans.all(), sentences)


class EncodedCorpus:
    """An encoded corpus in a folder. Safe to use from many threads and processes."""

    def __init__(self, folder: Path, digest: str, vocabulary: Vocabulary, units: Sequence[UnitSpans]) -> None:
        self.folder = folder
        self.digest = digest
        """Identifies what it was made of; see `units.corpus_digest`."""
        self.vocabulary = vocabulary
        self.spans = tuple(span for unit in units for span in unit.spans)
        """In the order of the corpus."""
        self.words = sum(span.words for span in self.spans)
        self.sentences = sum(unit.sentences for unit in units)

    def ids(self, span: Span) -> Ids:
        """The ids (n,) int32 of a span, mapped from its file and read-only: words of the vocabulary, with SENTENCE_END after
        each sentence, including the last. Raises TrainingError when the file cannot be read."""
        path = _encoded_file(self.folder, span.unit)
        try:
            mapped = np.memmap(path, np.int32, "r", offset=4 * span.begin, shape=(span.end - span.begin,))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: cannot be read: {error}") from error
        return np.asarray(mapped).view(np.ndarray)

    @staticmethod
    def write(folder: Path, digest: str, vocabulary: Vocabulary, units: Sequence[UnitSpans]) -> EncodedCorpus:
        """Makes an encoded corpus from units written to `folder`, given in the order of the corpus, and deletes the files of
        the scan. Raises TrainingError when there are no words, or a file cannot be written."""
        corpus = EncodedCorpus(folder, digest, vocabulary, units)
        if not corpus.words:
            raise TrainingError("the corpus contains no word of the vocabulary")
        vocabulary.write(folder / VOCABULARY)
        manifest = {
            "format": _FORMAT,
            "digest": digest,
            "vocabulary": vocabulary.digest(),
            "units": [
                {
                    "unit": unit.unit,
                    "sentences": unit.sentences,
                    "ends": [span.end for span in unit.spans],
                    "words": [span.words for span in unit.spans],
                }
                for unit in units
            ],
        }
        # Written last: a folder without it is not a corpus.
        path = folder / MANIFEST
        with writing(path), whole_file(path) as file:
            file.write(json.dumps(manifest).encode())
        for left in folder.glob("unit-*"):
            if left.suffix in _PROVISIONAL or is_partial(left.name):
                left.unlink(missing_ok=True)
        return corpus

    @staticmethod
    def open(folder: Path) -> EncodedCorpus:
        """Opens what `write` made. Raises TrainingError when there is none, or its files have changed."""
        path = folder / MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
            if manifest["format"] != _FORMAT:
                raise TrainingError(f"{path}: format {manifest['format']}, but this version of Shoal reads format {_FORMAT}")
            units = [_unit_spans(unit["unit"], unit["ends"], unit["words"], unit["sentences"]) for unit in manifest["units"]]
            digest, words_digest = manifest["digest"], manifest["vocabulary"]
            for unit in units:
                file = _encoded_file(folder, unit.unit)
                expected = 4 * unit.spans[-1].end if unit.spans else 0
                if file.stat().st_size != expected:
                    raise TrainingError(f"{file}: has {file.stat().st_size} bytes instead of {expected}")
        except OSError as error:
            raise TrainingError(f"{error.filename}: cannot be read: {error_line(error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{path}: damaged: {type(error).__name__}: {error}") from error
        vocabulary = Vocabulary.read(folder / VOCABULARY)
        if vocabulary.digest() != words_digest:
            raise TrainingError(f"{folder / VOCABULARY}: differs from the vocabulary that was written")
        return EncodedCorpus(folder, digest, vocabulary, units)


class _Spans:
    """Cuts a stream of sentences into spans."""

    def __init__(self, unit: str, span_words: int) -> None:
        self._unit = unit
        self._span_words = span_words
        self._spans: list[Span] = []
        self._ids = self._sentences = 0
        """Seen so far."""
        self._begin = self._begin_words = 0
        """Where the next span begins, and the number of words before it."""
        self._end = self._end_words = 0
        """Where the last sentence ended, and the number of words before that."""

    def add(self, ends: npt.NDArray[np.intp], count: int) -> None:
        """Adds `count` ids, of which those at indexes `ends` end a sentence."""
        after_ends = self._ids + ends + 1
        words = after_ends - self._sentences - np.arange(1, len(ends) + 1)
        while (cut := int(np.searchsorted(words, self._begin_words + self._span_words))) < len(ends):
            self._cut(int(after_ends[cut]), int(words[cut]))
        if len(ends):
            self._end, self._end_words = int(after_ends[-1]), int(words[-1])
        self._ids += count
        self._sentences += len(ends)

    def all(self) -> tuple[Span, ...]:
        """All spans, after the last `add`."""
        if self._end > self._begin:
            self._cut(self._end, self._end_words)
        return tuple(self._spans)

    def _cut(self, end: int, words: int) -> None:
        self._spans.append(Span(self._unit, self._begin, end, words - self._begin_words))
        self._begin, self._begin_words = end, words


def _without_empty_sentences(ids: Ids, ended: bool) -> tuple[Ids, bool]:
    """Removes unknown words, and ends of sentences that became empty. `ended` and the second result tell whether the
    previous ids, and these, end with the end of a sentence."""
    ids = ids[ids != _UNKNOWN]
    if not len(ids):
        return ids, ended
    ends = ids == SENTENCE_END
    after_end = np.concatenate([[ended], ends[:-1]])
    return ids[~(ends & after_end)], bool(ends[-1])


def _unit_spans(unit: str, ends: Sequence[int], words: Sequence[int], sentences: int) -> UnitSpans:
    spans = (Span(unit, begin, end, count) for begin, end, count in zip([0, *ends[:-1]], ends, words, strict=True))
    return UnitSpans(unit, tuple(spans) if ends else (), sentences)


def _encoded_file(folder: Path, unit: str) -> Path:
    return folder / f"{unit}{_SUFFIX}"
