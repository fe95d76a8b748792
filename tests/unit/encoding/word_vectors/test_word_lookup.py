from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.model import Truncation
from shoal.workers.encoding.word_vectors.word_lookup import UNICODE, WHITESPACE, WordLookup, WordRule
from shoal.workers.encoding.words import composed, cut_word, lowered, words_of

NUMBERS = {
    word: number for number, word in enumerate(["the", "Paris", "paris", "don't", "well", "known", "caf\xe9", "u.s", "tide"])
}
WORDS = list(NUMBERS)


def words(text: str, truncation: Truncation = Truncation.END, limit: int = 100) -> tuple[list[str], bool]:
    ids, truncated = WordLookup(NUMBERS, limit).find(text, truncation)
    return [WORDS[number] for number in ids], truncated


def test_words_are_looked_up_as_written_then_in_lower_case_then_in_parts() -> None:
    assert words("The Paris PARIS") == (["the", "Paris", "paris"], False)
    assert words("Don't, don\N{RIGHT SINGLE QUOTATION MARK}t!") == (["don't", "don't"], False)
    assert words("well-known well-paid U.S. the.tide") == (["well", "known", "well", "u.s", "the", "tide"], False)
    assert words("cafe\N{COMBINING ACUTE ACCENT}") == (["caf\xe9"], False)
    assert words("nothing known here?? 7") == (["known"], False)


def test_the_words_at_the_asked_end_are_read() -> None:
    text = "the tide " * 5 + "paris"
    assert words(text, limit=3) == (["the", "tide", "the"], True)
    assert words(text, Truncation.START, limit=3) == (["the", "tide", "paris"], True)
    assert words(text, limit=11) == words(text, Truncation.START, limit=11) == (["the", "tide"] * 5 + ["paris"], False)


@given(st.text(alphabet="ab.-' T", max_size=60), st.integers(1, 5), st.sampled_from(Truncation))
def test_no_more_is_read_than_the_limit(text: str, limit: int, truncation: Truncation) -> None:
    lookup = WordLookup({"a": 0, "b": 1, "ab": 2, "a.b": 3, "t": 4}, limit)
    ids, truncated = lookup.find(text, truncation)
    assert len(ids) <= limit
    if not truncated:
        whole, _ = WordLookup({"a": 0, "b": 1, "ab": 2, "a.b": 3, "t": 4}, 10_000).find(text, truncation)
        assert ids.tolist() == whole.tolist()


def known(text: str, words: list[str], **rule: Any) -> list[str]:
    lookup = WordLookup({word: number for number, word in enumerate(words)}, 100, WordRule(**rule))
    return [words[number] for number in lookup.find(text, Truncation.END)[0]]


def test_text_between_white_space_is_looked_up_before_its_words() -> None:
    table = ["U.S.", "u.s", "c++", "tide", "locking", "#1"]
    assert known("U.S. c++ #1 C++ tide?", table) == ["U.S.", "c++", "#1", "c++", "tide"]
    assert known("Tidal locking?\n(tide) 'tide'", table) == ["locking", "tide", "tide"]


def test_words_that_the_table_knows_joined_are_one() -> None:
    table = ["new", "york", "new_york", "times", "new_york_times", "city", "york_city"]
    assert known("New York city", table, phrases=True) == ["new_york", "city"]
    assert known("york city, new new york times", table, phrases=True) == ["york_city", "new", "new_york_times"]
    assert known("new_york", table, phrases=True) == ["new_york"]
    # Of two phrases that were joined in a second pass, the first half may be no word with the next alone.
    assert known("a b c d, a b c", ["a", "a_b", "c", "c_d", "a_b_c_d"], phrases=True) == ["a_b_c_d", "a_b", "c"]
    assert known("New York", table) == ["new", "york"]


COMPOSED, DECOMPOSED, HALF = "Vi\u1ec7t", "Vie\u0323\u0302t", "Vi\u00ea\u0323t"


def test_a_word_is_found_in_any_unicode_form() -> None:
    for form in (COMPOSED, DECOMPOSED, HALF):
        for text in (COMPOSED, DECOMPOSED, HALF, f"({HALF}), {form}!"):
            assert set(known(text, ["nam", form])) == {form}
    assert known("l\u2019\u00e9t\u00e9 d'hiver", ["l'e\u0301te\u0301", "d\u2019hiver"]) == [
        "l'e\u0301te\u0301",
        "d\u2019hiver",
    ]
    assert known("\u00c9T\u00c9", ["e\u0301te\u0301"]) == ["e\u0301te\u0301"]
    assert known("co\u00adoperate \u200fשלום\u200f", ["cooperate", "שלום"]) == ["cooperate", "שלום"]


def test_of_several_forms_the_one_of_the_text_is_found_or_else_the_first() -> None:
    assert known(f"{COMPOSED} {DECOMPOSED} {HALF}", [DECOMPOSED, COMPOSED]) == [COMPOSED, DECOMPOSED, DECOMPOSED]
    assert known(f"{COMPOSED} {DECOMPOSED} {HALF}", [COMPOSED, DECOMPOSED]) == [COMPOSED, DECOMPOSED, COMPOSED]


@given(st.lists(st.text("ab'\u2019.#+-\u00e9e\u0301हिน้中\U0001f600", min_size=1), min_size=1, unique=True))
def test_each_word_of_a_table_is_found_by_itself(table: list[str]) -> None:
    for word in table:
        assert known(word, table) == [word]


def test_words_longer_than_the_limit_are_found_as_the_corpus_has_them() -> None:
    sentence = "ภาษา" * 40
    assert known(f"{sentence} {sentence}.", [cut_word(sentence)]) == [cut_word(sentence)] * 2


def test_chinese_is_found_by_words_between_spaces_and_by_characters() -> None:
    assert known("中国 中国人", ["中国", "中", "人"]) == ["中国", "中", "人"]


SPLIT = {UNICODE: words_of, WHITESPACE: str.split}
CHARACTERS = "ab.-' \u2019TEH\u0130\u0301\u0331\u00a0\n\u00df+1_हिक़ड\u093cงก\u0e49中"


@given(st.text(alphabet=CHARACTERS, max_size=60), st.sampled_from([UNICODE, WHITESPACE]), st.booleans())
def test_the_words_of_the_corpus_are_found(text: str, tokenizer: str, lowercase: bool) -> None:
    words = [lowered(word) if lowercase else word for word in SPLIT[tokenizer](composed(text))]
    assert known(text, list(dict.fromkeys(words)), lowercase=lowercase) == words


def test_limits_hold() -> None:
    lookup = WordLookup({"a": 0, "b": 1}, 3, WordRule(phrases=True))
    for text, truncation, expected in [
        ("a b a b", Truncation.END, ([0, 1, 0], True)),
        ("a b a b", Truncation.START, ([1, 0, 1], True)),
        ("a.b-a.b,", Truncation.END, ([0, 1, 0], True)),
        ("a b x", Truncation.REFUSE, ([0, 1], False)),
    ]:
        ids, cut = lookup.find(text, truncation)
        assert (ids.tolist(), cut) == expected
