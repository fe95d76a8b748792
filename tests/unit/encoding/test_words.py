import re
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding import words
from shoal.workers.encoding.words import LONGEST_WORD, cut_word, normal_form, parts_of, pieces_of, raw_words_of, words_of
from support.word_boundaries import word_segments

SENTENCES = {
    "Hindi": ("हिन्दी, कमल। क्‍ष", ["हिन्दी", "कमल", "क्‍ष"]),
    "Tamil": ("தமிழ்: கற்க!", ["தமிழ்", "கற்க"]),
    "Bengali": ("বাংলা ভাষা, উৎসব।", ["বাংলা", "ভাষা", "উৎসব"]),
    "Thai": ("ภาษาไทยง่าย น้ำ!", ["ภาษาไทยง่าย", "น้ำ"]),
    "Khmer with zero width spaces": ("ភាសា\u200bខ្មែរ", ["ភាសា", "ខ្មែរ"]),
    "Arabic with vowels": ("كِتَابٌ، مَدْرَسَةٌ؟", ["كِتَابٌ", "مَدْرَسَةٌ"]),
    "Persian with a joiner": ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
    "Hebrew with points": ("שָׁלוֹם! בְּרֵאשִׁית.", ["שָׁלוֹם", "בְּרֵאשִׁית"]),
    "Hebrew abbreviations": ('צה״ל צה"ל ג׳ירפה רח\' "שלום"', ["צה״ל", 'צה"ל', "ג׳ירפה", "רח'", "שלום"]),
    "decomposed French": ("l\u2019e\u0301te\u0301, de\u0301ja\u0300", ["l'été", "déjà"]),
    "decomposed Vietnamese": ("Tie\u0302\u0301ng Vie\u0323\u0302t", ["Tiếng", "Việt"]),
    "Catalan": ("col·lecció", ["col·lecció"]),
    "Chinese": ("中国人民 GDP增长3%。", ["中", "国", "人", "民", "GDP", "增", "长", "3"]),
    "Japanese": ("タワーです。USBメモリ", ["タワー", "で", "す", "USB", "メモリ"]),
    "Korean": ("한국어를 배웁니다.", ["한국어를", "배웁니다"]),
    "numbers": ("1,000.50 and 3-4; 2;a ٣٫١٤", ["1,000.50", "and", "3-4", "2", "a", "٣٫١٤"]),
    "English": (
        "Don\u2019t stop: U.S. e-mail 'tis a:b snake_case m²",
        ["Don't", "stop", "U.S", "e-mail", "tis", "a", "b", "snake_case", "m²"],
    ),
    "a soft hyphen and directions": ("co\u00adoperate \u200fשלום\u200f", ["cooperate", "שלום"]),
    "nothing": ("\u0301 ... — !? \u200d", []),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_words_are_those_of_the_language(language: str) -> None:
    text, expected = SENTENCES[language]
    assert words_of(text) == expected


def test_parts_of_a_word_are_between_its_joints() -> None:
    assert parts_of("well-known.é") == ["well", "known", "é"]
    assert parts_of("हिन्दी-कमल") == ["हिन्दी", "कमल"]
    assert parts_of("1,000") == ["1", "000"]
    assert parts_of("tide") == ["tide"]


# Letters, digits, marks, joints and others of each kind that UAX #29 knows, without the three exceptions.
MARKS = "\u0301\u093f\u05b0\u064e\u200c\u200d\u00ad\u200f"
BASES = "aé9٣_‿'’\".·,;¸˂हאב״׳كカー中語あ한ⅷ !<$\u200b€"


TEXTS = st.lists(
    st.one_of(st.sampled_from(BASES), st.tuples(st.sampled_from(BASES), st.text(MARKS, max_size=2)), st.just("\n"))
)


@given(TEXTS.map(lambda characters: "".join("".join(character) for character in characters)))
def test_boundaries_are_unicodes(text: str) -> None:
    found = list(words._WORD.finditer(text))
    segments = word_segments(text)
    starts, ends = {begin for begin, _ in segments}, {end for _, end in segments}
    for match in found:
        assert match.start() in starts, match
        assert match.end() in ends, match
    inside = {position for match in found for position in range(match.start(), match.end())}
    for begin, end in segments:
        if any(letter.isalnum() for letter in text[begin:end]):
            assert inside >= set(range(begin, end)), text[begin:end]


def test_each_simple_character_is_what_the_full_rules_say() -> None:
    simple = [chr(code) for code in range(0x3000) if not words._NOT_SIMPLE.search(chr(code))]
    assert len(simple) > 4000
    for letter in simple:
        for text in (letter, f"a{letter}b", f"1{letter}2", f"a{letter}", f"1{letter}b"):
            assert words._SIMPLE_WORD.findall(text) == words._WORD.findall(text), hex(ord(letter))
            assert words._SIMPLE_PART.findall(text) == words._PART.findall(text), hex(ord(letter))
            assert words._SIMPLE_PIECE.findall(text) == words._PIECE.findall(text), hex(ord(letter))


@given(st.text(alphabet="aé9Яα_'’‘.,;-\u2010\u2011!\n ²Ⅷ€—:", max_size=30))
def test_simple_text_is_split_by_the_full_rules(text: str) -> None:
    assert words._SIMPLE_WORD.findall(text) == words._WORD.findall(text)
    assert words._SIMPLE_PIECE.findall(text) == words._PIECE.findall(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_words_in_normal_form_are_the_normal_forms_of_words(text: str) -> None:
    normal = normal_form(text)
    assert normal_form(normal) == normal
    assert raw_words_of(text) == words._WORD.findall(text)
    assert [normal_form(word) for word in raw_words_of(text)] == words_of(text)
    for word in words_of(text):
        assert words_of(word) == [word]
        assert "".join(parts_of(word)) in re.sub(r"\W", "", word) or not word.isascii()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_a_cut_word_is_its_longest_beginning_within_the_limit(text: str) -> None:
    cut = cut_word(text)
    assert text.startswith(cut)
    assert len(cut.encode()) <= LONGEST_WORD
    sizes = list(accumulate(len(letter.encode()) for letter in text))
    assert len(cut) == sum(size <= LONGEST_WORD for size in sizes)


def test_pieces_are_parts_and_other_characters() -> None:
    assert list(pieces_of("don't हिन्दी, ❤️ " + "x" * 40)) == ["don", "'", "t", "हिन्दी", ",", "❤️", "x" * 32, "x" * 8]


def test_a_huge_word_with_many_joints_is_found_at_once() -> None:
    for letter in "aह":
        (word,) = words_of(f"{letter}-" * 300_000)
        assert len(word) == 599_999
