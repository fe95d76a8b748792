from hypothesis import given
from hypothesis import strategies as st

from shoal.workers.encoding.model import Truncation
from shoal.workers.encoding.word_reading import WordReader

NUMBERS = {
    word: number for number, word in enumerate(["the", "Paris", "paris", "don't", "well", "known", "caf\xe9", "u.s", "tide"])
}
WORDS = list(NUMBERS)


def words(text: str, truncation: Truncation = Truncation.END, limit: int = 100) -> tuple[list[str], bool]:
    ids, truncated = WordReader(NUMBERS, limit).read(text, truncation)
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
    reader = WordReader({"a": 0, "b": 1, "ab": 2, "a.b": 3, "t": 4}, limit)
    ids, truncated = reader.read(text, truncation)
    assert len(ids) <= limit
    if not truncated:
        whole, _ = WordReader({"a": 0, "b": 1, "ab": 2, "a.b": 3, "t": 4}, 10_000).read(text, truncation)
        assert ids.tolist() == whole.tolist()
