"""Errors of Ray as one line: their messages hold whole tracebacks, in colour."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"\w[\w.]*(Error|Exception|Interrupt)\b")
_LONGEST = 300
"""Characters of a line."""


def ray_error_line(error: BaseException) -> str:
    """The last line of the message that names an exception, else its first line, of at most 300 characters."""
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    exception = next((line for line in reversed(lines) if _EXCEPTION.match(line)), "")
    return (exception or (lines[0] if lines else type(error).__name__))[:_LONGEST]
