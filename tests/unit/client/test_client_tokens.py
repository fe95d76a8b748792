"""Merged tokens name the same writes as the server's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.client import InvalidArgument
from shoal.client._transport.requests import search
from shoal.client._transport.tokens import merged, merged_all
from shoal.cluster.decisions.tokens.write_token import WriteToken

TOKENS = st.builds(lambda numbers: str(WriteToken.of(7, *numbers)), st.sets(st.integers(1, 60), min_size=1, max_size=30))


@given(TOKENS, TOKENS)
def test_the_client_and_the_server_merge_alike(one: str, other: str):
    first, second = WriteToken.parse(one), WriteToken.parse(other)
    assert first is not None and second is not None
    assert merged(one, other) == str(first.merged(second))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("", "7:3", "7:3"),
        ("7:3", "", "7:3"),
        ("7:", "7:3", "7:3"),
        ("7:9", "8:1", "8:1"),
        ("8:1", "7:9", "8:1"),
        ("7.3", "7.5", "7.5"),
        ("7.5", "7.3", "7.5"),
        ("7.3", "7:5", "7:1-3,5"),
        ("a new form", "7:5", "7:5"),
        ("7:5", "a new form", "a new form"),
    ],
)
def test_tokens_of_other_kinds(one: str, other: str, both: str):
    assert merged(one, other) == both


@given(st.lists(TOKENS, max_size=5))
def test_a_search_takes_the_tokens_of_several_writes(tokens: list[str]):
    whole = WriteToken.of(7)
    for token in tokens:
        parsed = WriteToken.parse(token)
        assert parsed is not None
        whole = whole.merged(parsed)
    request = search("c", "text", 3, tokens, False, None).request
    assert request.token == (str(whole) if tokens else "")
    assert search("c", "text", 3, "7:1", False, None).request.token == "7:1"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(["7:1", "8:1"], "writes to different collections"), (["7:1", "new"], "token 'new' cannot be merged")],
)
def test_tokens_that_cannot_be_merged_are_refused(tokens: list[str], said: str):
    with pytest.raises(InvalidArgument, match=said):
        search("c", "text", 3, tokens, False, None)
    # A single one is for the server to read.
    assert merged_all(["new"]) == "new"
