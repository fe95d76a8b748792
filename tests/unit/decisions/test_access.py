"""Who may do what: keys are parsed strictly, checked whole, and never allow more than their role and scope."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.access import (
    EVERY_COLLECTION,
    AccessLevel,
    AccessRefusal,
    ApiKey,
    PresentedKey,
    administers,
    authenticated,
    digest_of,
    key_text,
    presented,
    refusal_of,
)
from shoal.v1 import permissions_pb2

ID, SECRET = "0123456789ab", "5ec7e7" * 10 + "abcd"
THOUSANDS = settings(max_examples=2000, deadline=None)
HEX = st.text("0123456789abcdef", min_size=1, max_size=80)
NAMES = st.text("abc.-_", min_size=1, max_size=4)
PATTERNS = st.lists(st.one_of(NAMES, NAMES.map(lambda name: name + "*"), st.just("*")), min_size=1, max_size=3)
TIMES = st.integers(0, 10)


def stored(
    role: AccessLevel = AccessLevel.READ,
    collections: tuple[str, ...] = ("*",),
    expires_at_ms: int | None = None,
    revoked_at_ms: int | None = None,
) -> ApiKey:
    return ApiKey(ID, "tests", digest_of(SECRET), role, collections, 0, expires_at_ms, revoked_at_ms)


def test_a_key_is_read_as_it_was_shown() -> None:
    text = key_text(ID, SECRET)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert presented([f"{scheme} {text}"]) == PresentedKey(ID, SECRET)
    # As a copied key may have them.
    assert presented([f"Bearer  {text} \n"]) == PresentedKey(ID, SECRET)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Bearer shoal_"],
        [key_text(ID, SECRET)],
        [f"Basic {key_text(ID, SECRET)}"],
        [f"Bearer {key_text(ID, SECRET)}x"],
        [f"Bearer {key_text(ID, '')}"],
        [f"Bearer {key_text(ID.upper(), SECRET)}"],
        [f"Bearer {key_text('', SECRET)}"],
        # Two keys: which one would count?
        [f"Bearer {key_text(ID, SECRET)}"] * 2,
        [f"Bearer {key_text(ID, SECRET)}".encode()],
    ],
)
def test_what_is_not_exactly_one_key_is_no_credential(values: list[str | bytes]) -> None:
    assert presented(values) is None


@THOUSANDS
@given(st.text(max_size=100))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    found = presented([text])
    assert found is None or re.fullmatch(r"[0-9a-f]{12}", found.id)


@THOUSANDS
@given(HEX, HEX)
def test_only_the_right_secret_of_the_right_key_is_accepted(id: str, secret: str) -> None:
    assert authenticated(PresentedKey(ID, SECRET), stored(), 0)
    assert not authenticated(PresentedKey(ID, secret), stored(), 0) or secret == SECRET
    assert not authenticated(PresentedKey(id, SECRET), stored(), 0) or id == ID
    assert not authenticated(PresentedKey(id, secret), None, 0)


@THOUSANDS
@given(st.none() | TIMES, st.none() | TIMES, TIMES)
def test_a_key_is_refused_from_its_expiry_on_and_once_revoked(expires: int | None, revoked: int | None, now: int) -> None:
    valid = revoked is None and (expires is None or now < expires)
    key = stored(expires_at_ms=expires, revoked_at_ms=revoked)
    assert authenticated(PresentedKey(ID, SECRET), key, now) == key.valid_at(now) == valid


@THOUSANDS
@given(st.sampled_from(AccessLevel), st.sampled_from(AccessLevel), PATTERNS, st.none() | NAMES | st.just(EVERY_COLLECTION))
def test_a_key_allows_no_more_than_its_role_and_scope(
    role: AccessLevel, needs: AccessLevel, patterns: list[str], collection: str | None
) -> None:
    in_scope = collection is None or any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), collection) for pattern in patterns
    )
    expected = AccessRefusal.ROLE if role < needs else None if in_scope else AccessRefusal.SCOPE
    assert refusal_of(stored(role, tuple(patterns)), needs, collection) is expected


def test_only_a_key_for_every_collection_covers_every_collection() -> None:
    assert stored(collections=("*",)).unrestricted and stored(collections=("a", "*")).unrestricted
    for patterns in (("a",), ("a*",), ("a*", "b*")):
        assert not stored(collections=patterns).unrestricted
        assert refusal_of(stored(AccessLevel.ADMIN, patterns), AccessLevel.ADMIN, EVERY_COLLECTION) is AccessRefusal.SCOPE


def test_only_a_valid_administrator_of_every_collection_can_make_keys() -> None:
    assert administers([stored(), stored(AccessLevel.ADMIN)], 5)
    for keys in ([], [stored(AccessLevel.WRITE)], [stored(AccessLevel.ADMIN, ("a*",))]):
        assert not administers(keys, 5)
    assert not administers([stored(AccessLevel.ADMIN, expires_at_ms=5), stored(AccessLevel.ADMIN, revoked_at_ms=1)], 5)


def test_the_secret_is_not_stored_nor_shown() -> None:
    assert SECRET not in repr(stored()) and SECRET.encode() not in stored().digest and len(stored().digest) == 32


def test_roles_have_the_numbers_of_the_public_api() -> None:
    assert {f"ACCESS_ROLE_{role.name}": role.value for role in AccessLevel} == {
        name: number for name, number in permissions_pb2.AccessRole.items() if number
    }
