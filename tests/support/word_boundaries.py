"""Unicode's default word boundaries, rule by rule as in https://www.unicode.org/reports/tr29/#Word_Boundary_Rules."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import regex

_PROPERTIES = (
    *("CR", "LF", "Newline", "Extend", "ZWJ", "Format", "Katakana", "Hebrew_Letter", "ALetter", "Single_Quote"),
    *("Double_Quote", "MidNumLet", "MidLetter", "MidNum", "Numeric", "ExtendNumLet", "Regional_Indicator", "WSegSpace"),
)
_LINE_ENDS = ("CR", "LF", "Newline")
_IGNORED = ("Extend", "Format", "ZWJ")
_AH_LETTER = ("ALetter", "Hebrew_Letter")
_MID_NUM_LET_Q = ("MidNumLet", "Single_Quote")


@cache
def _property(letter: str) -> str:
    return next((name for name in _PROPERTIES if regex.fullmatch(rf"\p{{WB={name}}}", letter)), "Other")


def word_segments(text: str) -> list[tuple[int, int]]:
    """Begin and end of each segment between boundaries, in order."""
    bounds = [position for position in range(1, len(text)) if _breaks(text, position)]
    edges = [0, *bounds, len(text)] if text else []
    return list(pairwise(edges))


def _breaks(text: str, position: int) -> bool:
    left, right = _property(text[position - 1]), _property(text[position])
    if (left, right) == ("CR", "LF"):  # WB3
        return False
    if left in _LINE_ENDS or right in _LINE_ENDS:  # WB3a, WB3b
        return True
    if left == "ZWJ" and regex.fullmatch(r"\p{Extended_Pictographic}", text[position]):  # WB3c
        return False
    if (left, right) == ("WSegSpace", "WSegSpace"):  # WB3d
        return False
    if right in _IGNORED:  # WB4
        return False
    before = _significant(text[:position])
    after = [right, *_significant(text[position + 1 :])[:1]]
    return not _joined(before, after)


def _significant(text: str) -> list[str]:
    """The properties, without those that WB4 ignores: after any character but a line end."""
    kept: list[str] = []
    for letter in text:
        found = _property(letter)
        if not (found in _IGNORED and kept and kept[-1] not in _LINE_ENDS):
            kept.append(found)
    return kept


def _joined(before: list[str], after: list[str]) -> bool:
    """By the rules WB5 to WB16, for the characters on both sides."""
    left, right = before[-1], after[0]
    further_left = before[-2] if len(before) > 1 else ""
    further_right = after[1] if len(after) > 1 else ""
    wordlike = (*_AH_LETTER, "Numeric", "Katakana")
    mid_letter = ("MidLetter", *_MID_NUM_LET_Q)
    mid_number = ("MidNum", *_MID_NUM_LET_Q)
    flags = 0
    while flags < len(before) and before[-1 - flags] == "Regional_Indicator":
        flags += 1
    return (
        (left in _AH_LETTER and right in _AH_LETTER)  # WB5
        or (left in _AH_LETTER and right in mid_letter and further_right in _AH_LETTER)  # WB6
        or (further_left in _AH_LETTER and left in mid_letter and right in _AH_LETTER)  # WB7
        or (left == "Hebrew_Letter" and right == "Single_Quote")  # WB7a
        or (left == "Hebrew_Letter" and right == "Double_Quote" and further_right == "Hebrew_Letter")  # WB7b
        or (further_left == "Hebrew_Letter" and left == "Double_Quote" and right == "Hebrew_Letter")  # WB7c
        or (left == "Numeric" and right == "Numeric")  # WB8
        or (left in _AH_LETTER and right == "Numeric")  # WB9
        or (left == "Numeric" and right in _AH_LETTER)  # WB10
        or (further_left == "Numeric" and left in mid_number and right == "Numeric")  # WB11
        or (left == "Numeric" and right in mid_number and further_right == "Numeric")  # WB12
        or (left == "Katakana" and right == "Katakana")  # WB13
        or (left in (*wordlike, "ExtendNumLet") and right == "ExtendNumLet")  # WB13a
        or (left == "ExtendNumLet" and right in wordlike)  # WB13b
        or (right == "Regional_Indicator" and flags % 2 == 1)  # WB15, WB16
    )
