"""The vocabulary: the words that get vectors, ordered by their counts in the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shoal.workers.runtime import error_line, whole_file
from shoal.workers.training.word2vec.corpus.counting import PARTITIONS, UnitCounts, read_words
from shoal.workers.training.word2vec.errors import TrainingError, writing
from shoal.workers.training.word2vec.settings import Word2VecSettings


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Distinct `words` and their `counts` (n,) int64, most frequent first; equally frequent words in the order of
    strings."""

    words: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    @cached_property
    def word_ids(self) -> dict[str, int]:
        """The id of each word: its index in `words`."""
        return {word: index for index, word in enumerate(self.words)}

    def digest(self) -> str:
        """Hex blake2b-128 over words and counts."""
        digest = blake2b(digest_size=16)
        digest.update("\n".join(self.words).encode())
        digest.update(self.counts.astype("<i8").tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Writes "word count" lines, as the original program does. Raises TrainingError when that fails."""
        lines = "".join(f"{word} {count}\n" for word, count in zip(self.words, self.counts.tolist(), strict=True))
        with writing(path), whole_file(path) as file:
            file.write(lines.encode())

    @staticmethod
    def read(path: Path) -> Vocabulary:
        """Reads what `write` wrote. Raises TrainingError when it cannot be read."""
        try:
            lines = path.read_bytes().decode().split("\n")[:-1]
            pairs = [(word, int(count)) for word, count in (line.split(" ") for line in lines)]
        except OSError as error:
            raise TrainingError(f"{path}: cannot be read: {error_line(error)}") from error
        except ValueError as error:
            raise TrainingError(f"{path}: damaged: {error}") from error
        return Vocabulary(tuple(word for word, _ in pairs), np.array([count for _, count in pairs], dtype=np.int64))

    def __reduce__(self) -> tuple[Any, ...]:
        # Without `word_ids`, which is faster to rebuild than to send.
        return (Vocabulary, (self.words, self.counts))


def merge_counts(parts: Sequence[UnitCounts], least: int = 1) -> Counter[str]:
    """The total counts of the words that occur at least `least` times in all units.

    In addition to these words, only a small share of all distinct words is held at once. Raises TrainingError when a file
    cannot be read or there are no words.
    """
    if not any(part.words for part in parts):
        raise TrainingError("the corpus has no words")
    sections = [section for part in parts for section in part.sections]
    counts: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        table = pa.concat_tables(read_words(section, partition) for section in sections)
        sums = table.group_by("word", use_threads=False).aggregate([("count", "sum")])
        sums = sums.filter(pa.array(sums["count_sum"].to_numpy() >= least))
        counts.update(dict(zip(sums["word"].to_pylist(), sums["count_sum"].to_pylist(), strict=True)))
    return counts


def build_vocabulary(counts: Mapping[str, int], settings: Word2VecSettings) -> Vocabulary:
    """The vocabulary of the words that occur at least `min_count` times, at most the `max_vocabulary` most frequent ones.

    Raises TrainingError when there are none.
    """
    kept = {word: count for word, count in counts.items() if count >= settings.min_count}
    if not kept:
        raise TrainingError(f"no word of the corpus occurs {settings.min_count} times (min_count)")
    return vocabulary_of(kept, settings.max_vocabulary or len(kept))


def vocabulary_of(counts: Mapping[str, int], most: int | None = None) -> Vocabulary:
    """A vocabulary of all words, or of the `most` most frequent ones."""
    ordered = sorted((-count, word) for word, count in counts.items())[:most]
    return Vocabulary(tuple(word for _, word in ordered), -np.array([count for count, _ in ordered], dtype=np.int64))
