"""Reads the small text files of an evaluation. What their lines mean is said elsewhere."""

from __future__ import annotations

from pathlib import Path

from shoal.workers.evaluation.errors import EvaluationError
from shoal.workers.runtime import error_line


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold more than white space, stripped, with their numbers from 1 on.

    Raises EvaluationError when the file cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EvaluationError(f"{path}: {error_line(error)}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: this is not text in UTF-8 (byte {error.start})") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_words(path: Path) -> list[str]:
    """A list of words, one a line, without those that came before. Raises EvaluationError, also when it is empty."""
    words = list(dict.fromkeys(line for _, line in read_lines(path)))
    if not words:
        raise EvaluationError(f"{path}: there are no words in this file")
    return words
