"""Errors become one line, whatever they contain."""

from __future__ import annotations

import errno

import pytest

from shoal.workers.runtime.error_lines import error_line, first_error_line, typed_error_line


@pytest.mark.parametrize(
    ("error", "whole", "typed", "first"),
    [
        (ValueError("one\n  two"), "one two", "ValueError: one two", "one"),
        (ValueError("\n\n"), "ValueError", "ValueError: ", "ValueError"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a"),
            "No space left on device",
            "OSError: [Errno 28] No space left on device: '/a'",
            "[Errno 28] No space left on device: '/a'",
        ),
        (OSError("gone"), "gone", "OSError: gone", "gone"),
        (ValueError("x" * 301), "x" * 300, "ValueError: " + "x" * 288, "x" * 301),
    ],
)
def test_an_error_is_one_line(error: Exception, whole: str, typed: str, first: str) -> None:
    assert (error_line(error), typed_error_line(error), first_error_line(error)) == (whole, typed, first)
