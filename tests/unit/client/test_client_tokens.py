"""Merged tokens name the same writes as the server's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.client._transport.tokens import merged
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
