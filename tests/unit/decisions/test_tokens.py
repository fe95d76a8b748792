"""Tokens as text, and what a merged token names, for generated writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.tokens.write_token import MAX_RANGES, WriteToken

NUMBERS = st.integers(0, 10**18 - 1)
FEW = st.integers(1, 40)


def names(token: WriteToken, sequence: int) -> bool:
    return sequence <= token.through or any(first <= sequence <= last for first, last in token.ranges)


@st.composite
def tokens(draw: st.DrawFn, numbers: st.SearchStrategy[int] = FEW) -> WriteToken:
    token = WriteToken(7)
    for sequences in draw(st.lists(st.lists(numbers, min_size=1, max_size=4), max_size=6)):
        token = token.merged(WriteToken.of(7, *sequences))
    return token.merged(WriteToken(7, (), draw(numbers))) if draw(st.booleans()) else token


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (WriteToken.of(7, 12), "7:12"),
        (WriteToken.of(7), "7:"),
        (WriteToken.of(7, 14, 12, 13, 25, 25), "7:12-14,25"),
        (WriteToken(7, (), 12), "7.12"),
        (WriteToken.of(7, 30).merged(WriteToken(7, (), 12)), "7.30"),
    ],
)
def test_the_text_of_a_token(token: WriteToken, text: str) -> None:
    assert str(token) == text
    found = WriteToken.parse(text)
    assert found is not None and (str(found), found.newest) == (text, token.newest)


def test_a_token_of_an_earlier_release_names_everything_up_to_its_write() -> None:
    assert WriteToken.parse("7.12") == WriteToken(7, (), 12)


@pytest.mark.parametrize(
    "text",
    ["", "1", ".1", "1.", ":1", "1.2.3", "a:b", "-1:2", "1:2\n", "1:2,", "1:,2", "1:2-", "1:3-2", "1:1-2-3", "1: 2"]
    + ["\uff11:\uff12", "9" * 19 + ":1", "1:" + "9" * 19, "1:" + ",".join(str(3 * n) for n in range(MAX_RANGES + 1))],
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert WriteToken.parse(text) is None


@given(st.lists(NUMBERS, max_size=60), st.booleans())
def test_a_token_of_any_writes_is_short_and_can_be_read_back(sequences: list[int], earlier: bool) -> None:
    token = WriteToken(10**18 - 1)
    for sequence in sequences:
        token = token.merged(WriteToken.of(10**18 - 1, sequence))
    if earlier:
        token = token.merged(WriteToken(10**18 - 1, (), 10**17))
    assert len(str(token)) <= 700 and len(token.ranges) <= MAX_RANGES
    found = WriteToken.parse(str(token))
    assert found is not None and found.newest == token.newest
    assert all(names(found, sequence) for sequence in sequences)


@given(tokens(), tokens())
def test_a_merged_token_names_exactly_the_writes_of_both_while_ranges_are_few(one: WriteToken, other: WriteToken) -> None:
    merged = one.merged(other)
    for sequence in range(1, 42):
        assert names(merged, sequence) == (names(one, sequence) or names(other, sequence))
    assert merged == other.merged(one)
    assert merged.merged(one) == merged
    for (_, last), (first, _) in zip(merged.ranges, merged.ranges[1:], strict=False):
        assert last + 1 < first


def test_too_many_ranges_are_joined_where_the_gap_is_smallest() -> None:
    far = [1000 * n for n in range(1, MAX_RANGES)]
    token = WriteToken.of(7, *far, 2003, 8002)
    assert len(token.ranges) == MAX_RANGES
    assert (2000, 2003) in token.ranges or (8000, 8002) in token.ranges
    assert (8000, 8002) in token.ranges, "the smaller gap is closed first"
    assert (2000, 2000) in token.ranges and (2003, 2003) in token.ranges


def test_of_two_collections_the_newer_one_counts() -> None:
    old, new = WriteToken.of(7, 90), WriteToken.of(8, 3)
    assert old.merged(new) == new.merged(old) == new
