"""What a word is: the one definition for text to train on, for texts to embed and for the words of a table.

Words end where Unicode's default rules have a word boundary (UAX #29, https://www.unicode.org/reports/tr29/), so marks
(vowel signs, tone marks, points) belong to their letter. Between the boundaries, only what has a letter or digit is a word.
There are fewer boundaries than by default in three cases:

- Thai, Lao, Khmer and Burmese have no spaces between words, and by default a boundary after each letter, because finding
  their words needs a dictionary. Here a run of their letters and marks is one word.
- Hyphens join ("well-known"), and apostrophes and periods also join a letter and a digit. There is no boundary within "m²".
- The reverse: a colon separates, as in Unicode's locale data (CLDR), where the default rules join for Swedish.

Chinese characters and Hiragana are words of one character each, Katakana a run, as by default.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import regex

WORD_RULE = 2
"""Part of the fingerprint of models that find words in texts: increase it with every change of this module that changes
the words of any text."""
LONGEST_WORD = 256
"""Bytes of UTF-8. Longer words are cut, as the original word2vec does at 100."""

_SHORT_RUN = 40
"""Characters of the longest text between white space whose words are cached."""
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"

_ALONE = r"\p{Ideographic}\p{Script=Hiragana}"
_KATAKANA = r"\p{WB=Katakana}"
_MARK = r"\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}"
_CONNECTOR = r"[\p{WB=ExtendNumLet}--\p{Zs}]"
_LETTER = rf"\p{{L}}\p{{N}}\p{{WB=ALetter}}\p{{WB=Numeric}}{_CONNECTOR}"
_FIRST = rf"[{_LETTER}--[{_ALONE}{_KATAKANA}]]"
_NEXT = rf"[{_LETTER}{_MARK}--[{_ALONE}{_KATAKANA}]]"
_NEXT_KATAKANA = rf"[{_KATAKANA}{_MARK}{_CONNECTOR}]"
_RUN = rf"{_FIRST}{_NEXT}*+"
_RUNS = rf"(?:{_RUN}|[{_KATAKANA}]{_NEXT_KATAKANA}*+)"
_CONNECTED = rf"{_RUNS}(?:(?<={_CONNECTOR}[{_MARK}]*){_RUNS})*+"
_JOINT = r"[[\p{WB=MidLetter}\p{WB=MidNumLet}'\-\u2010\u2011]--[:\uFE13\uFE55\uFF1A]]"
_IN_NUMBERS = rf"\p{{WB=MidNum}}(?<=\p{{Nd}}[{_MARK}]*.)(?=[{_MARK}]*\p{{Nd}})"
_IN_HEBREW = rf"(?<=\p{{WB=Hebrew_Letter}}[{_MARK}]*)\"(?=[{_MARK}]*\p{{WB=Hebrew_Letter}})"
_AFTER_HEBREW = rf"(?:(?<=\p{{WB=Hebrew_Letter}}[{_MARK}]*)['\u2019][{_MARK}]*+)?+"
# Typed as Any: the package has no type hints.
_PART: Any = regex.compile(rf"(?V1){_RUNS}|[{_ALONE}][{_MARK}]*+")
_WORD: Any = regex.compile(
    rf"(?V1){_CONNECTED}(?:(?:{_JOINT}|{_IN_NUMBERS}|{_IN_HEBREW})(?<![{_KATAKANA}][{_MARK}]*.)[{_MARK}]*+"
    rf"(?![{_KATAKANA}]){_CONNECTED})*+{_AFTER_HEBREW}|[{_ALONE}][{_MARK}]*+"
)
_PIECE: Any = regex.compile(
    rf"(?V1){_FIRST}{_NEXT}{{0,31}}|[{_KATAKANA}]{_NEXT_KATAKANA}{{0,31}}|[^\s\x1c-\x1f][{_MARK}]{{0,31}}"
)
_FORMAT: Any = regex.compile(r"\p{WB=Format}")

# The same rules for text in which every letter is one character. Four times as fast.
_SIMPLE_PART = re.compile(r"\w+")
_SIMPLE_PIECE = re.compile(r"\w{1,32}|[^\w\s]")
_SIMPLE_WORD = re.compile(
    "\\w++(?:(?:['.\\-\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}]"
    r"|[,;](?<=\d[,;])(?=\d))\w++)*+"
)
_NOT_SIMPLE = re.compile(
    r"[^\0-\xac\xae-\xb6\xb9-\u02c1\u0370-\u037d\u037f-\u0386\u0388-\u0482\u048a-\u0556\u1e00-\u200a\u2010-\u2023\u2025"
    r"\u2026\u2028-\u2029\u202f-\u203e\u20a0-\u20bf\u2100-\u24b5\u24ea-\u2bff]"
)
"""Finds a character that needs the full rules."""


def words_of(text: str) -> list[str]:
    """The words of a text in their normal form, in order."""
    return raw_words_of(normal_form(text))


def raw_words_of(text: str) -> list[str]:
    """The words of a text in order, as they are written. Their normal forms are the words of the text's normal form."""
    if not _needs_full_rules(text):
        return _SIMPLE_WORD.findall(text)
    found: list[str] = []
    # No word contains white space, and the same runs come again and again.
    for run in text.split():
        found += _short_run_words(run) if len(run) <= _SHORT_RUN else _run_words(run)
    return found


def parts_of(word: str) -> list[str]:
    """What a word consists of between apostrophes, periods, hyphens and the like; the word itself if it has none."""
    return (_PART if _needs_full_rules(word) else _SIMPLE_PART).findall(word)


def normal_form(text: str) -> str:
    """Unicode's composed form (NFC), with one form of apostrophes, and without invisible characters that only control
    layout (soft hyphens, directions). Joiners stay: they belong to the spelling in Persian and the scripts of India."""
    if text.isascii():
        return text
    if _NOT_SIMPLE.search(text):
        text = _FORMAT.sub("", text)
    return composed(text).replace(_APOSTROPHE, "'")


def composed(text: str) -> str:
    """Text in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", text)


def lowered(word: str) -> str:
    """A word in lower case and composed form: a letter and its mark may only have one character in lower case."""
    return composed(word.lower())


def cut_word(word: str) -> str:
    """The word up to LONGEST_WORD, without half of a character."""
    if len(word) * 4 <= LONGEST_WORD:
        return word
    return word.encode("utf-8", "replace")[:LONGEST_WORD].decode(errors="ignore")


def pieces_of(text: str) -> Iterator[str]:
    """The parts of all words, in pieces of at most 32 characters, and each other visible character, in order."""
    pattern = _PIECE if _needs_full_rules(text) else _SIMPLE_PIECE
    return (match.group() for match in pattern.finditer(text))


def _run_words(run: str) -> Sequence[str]:
    return (_WORD if _needs_full_rules(run) else _SIMPLE_WORD).findall(run)


_short_run_words = lru_cache(maxsize=1 << 15)(_run_words)


def _needs_full_rules(text: str) -> bool:
    return not text.isascii() and _NOT_SIMPLE.search(text) is not None
