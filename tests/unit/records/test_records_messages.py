from __future__ import annotations

import pytest

from shoal.records import row_message


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("not JSON: Expecting value", "notes/a.jsonl:7: not JSON: Expecting value"),
        ("two\nlines  and\ttabs", "notes/a.jsonl:7: two lines and tabs"),
        ("\x1b[2Jwiped", "notes/a.jsonl:7: [2Jwiped"),
    ],
)
def test_a_message_is_one_printable_line(reason: str, expected: str) -> None:
    assert row_message("notes/a.jsonl", 7, reason) == expected


def test_the_name_of_a_file_cannot_steer_the_terminal_either() -> None:
    assert row_message("a\x1b[2J b", 1, "x") == "a[2J b:1: x"
