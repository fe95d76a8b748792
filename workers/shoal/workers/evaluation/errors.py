"""The error of an evaluation."""

from __future__ import annotations


class EvaluationError(Exception):
    """An evaluation is impossible. The message is one line and names the file and line, or the word, and what is wrong."""
