"""What is raised when an evaluation cannot be made."""

from __future__ import annotations


class EvaluationError(Exception):
    """The message is one line and names the file, the line or the word, and what was expected."""
