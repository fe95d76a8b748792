"""Reads the lines of small text files, and the fields of lines in CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from shoal.workers.evaluation.errors import EvaluationError
from shoal.workers.runtime import error_line


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a file that are not blank, stripped, with their line numbers from 1.

    Raises EvaluationError when the file cannot be read or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EvaluationError(f"{path}: {error_line(error)}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: not UTF-8 (at byte {error.start})") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_words(path: Path) -> list[str]:
    """The distinct words of a file with a word per line. Raises EvaluationError, also when there are none."""
    words = list(dict.fromkeys(line for _, line in read_lines(path)))
    if not words:
        raise EvaluationError(f"{path}: no words in this file")
    return words


def csv_fields(line: str) -> list[str]:
    """The fields of a line in CSV, stripped."""
    return [field.strip() for field in next(csv.reader([line]))]
