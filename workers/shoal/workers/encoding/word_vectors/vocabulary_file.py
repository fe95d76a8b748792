"""Reads vocabularies as text, one word per line with its count in the corpus, as word2vec and gensim read and write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.model import ModelError


@dataclass(frozen=True, slots=True)
class CountedWords:
    """The content of a vocabulary file."""

    words: list[str]
    counts: npt.NDArray[np.int64] | None
    """(words,); None if the file has only words."""


def read_vocabulary(file: Path, name: str) -> CountedWords:
    """Reads lines of "word count", or of words only if the first line has no count. `name` is the model's name in errors.

    Raises ModelError with the file and line.
    """
    try:
        # Only at line feeds: a word may contain other line end characters.
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise ModelError(name, f"{file.name} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(name, f"{file.name} is not UTF-8 at byte {error.start}") from None
    lines = [line.removesuffix("\r") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if lines and not _counted(lines[0]):
        return CountedWords(_checked(lines, file, name), None)
    split = [line.rpartition(" ") for line in lines]
    for number, line in enumerate(lines, start=1):
        if not _counted(line):
            raise ModelError(name, f"line {number} of {file.name} is {line[:40]!r}, expected a word and its count")
    counts = np.array([int(count) for _, _, count in split], dtype=np.int64)
    return CountedWords(_checked([word for word, _, _ in split], file, name), counts)


def _counted(line: str) -> bool:
    word, _, count = line.rpartition(" ")
    return bool(word) and count.isascii() and count.isdigit() and len(count) < 19


def _checked(words: list[str], file: Path, name: str) -> list[str]:
    seen: set[str] = set()
    for number, word in enumerate(words, start=1):
        if not word:
            raise ModelError(name, f"line {number} of {file.name} is empty, expected a word")
        if word in seen:
            raise ModelError(name, f"line {number} of {file.name} repeats the word {word[:40]!r}")
        seen.add(word)
    return words
