"""Errors as one line, for messages and logs."""

from __future__ import annotations

_LONGEST = 300
"""Characters of a line."""


def error_line(error: BaseException) -> str:
    """The message of an error as one line of at most 300 characters; its type if it has no message."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(message.split())[:_LONGEST] or type(error).__name__


def typed_error_line(error: BaseException) -> str:
    """Type and message of an error as one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]


def first_error_line(error: BaseException) -> str:
    """The first line of an error's message, for libraries whose messages go on with a traceback or a hint; its type if it
    has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
