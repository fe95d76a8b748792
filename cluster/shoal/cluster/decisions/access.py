"""Who may do what: API keys with a role, a scope of collections and an expiry. Decides from values alone.

A key is shown once, as `shoal_ID_SECRET`; only the SHA-256 of the secret is stored. The secret has 256 random bits, so it
needs no slow hash: nobody can try them all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

KEY_PREFIX = "shoal"
ID_BYTES = 6
SECRET_BYTES = 32
EVERY_COLLECTION = "*"
_KEY = re.compile(rf"{KEY_PREFIX}_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
_SCHEME = "bearer "


class AccessLevel(IntEnum):
    """What a key may do; each role may do what those before it may. Also what a call needs."""

    READ = 1
    """Search, read documents and status, embed."""
    WRITE = 2
    """Write and delete documents."""
    ADMIN = 3
    """Create and drop collections; with a scope of every collection also keys."""


class AccessRefusal(Enum):
    """Why a call is refused."""

    MISSING = "missing"
    """It has no credentials, or not in the form that is read."""
    INVALID = "invalid"
    """The key is unknown, wrong, expired or revoked. Callers are not told which."""
    ROLE = "role"
    """The key's role is too low."""
    SCOPE = "scope"
    """The key may do this, but not with this collection."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored. Times are Unix times in milliseconds."""

    id: str
    name: str
    """What it is for, in its creator's words."""
    digest: bytes = field(repr=False)
    """See `digest_of`."""
    role: AccessLevel
    collections: tuple[str, ...]
    """Names, or beginnings of names with "*" at the end."""
    created_at_ms: int
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None

    def valid_at(self, now_ms: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)

    def covers(self, collection: str) -> bool:
        """Whether the collection is in its scope."""
        return any(
            collection.startswith(name[:-1]) if name.endswith("*") else collection == name for name in self.collections
        )

    @property
    def unrestricted(self) -> bool:
        """Whether every collection is in its scope, those to come included."""
        return EVERY_COLLECTION in self.collections


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """What a caller sent."""

    id: str
    secret: str


def key_text(id: str, secret: str) -> str:
    """The key as its owner keeps it; `id` and `secret` are ID_BYTES and SECRET_BYTES in hexadecimal."""
    return f"{KEY_PREFIX}_{id}_{secret}"


def digest_of(secret: str) -> bytes:
    """What is stored in place of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def presented(authorization: Sequence[str | bytes]) -> PresentedKey | None:
    """The key in the values of a call's `authorization` metadata; None without exactly one of the form "Bearer KEY"."""
    if len(authorization) != 1 or not isinstance(authorization[0], str):
        return None
    value = authorization[0]
    match = _KEY.fullmatch(value[len(_SCHEME) :].strip()) if value[: len(_SCHEME)].lower() == _SCHEME else None
    return PresentedKey(*match.groups()) if match else None


def authenticated(sent: PresentedKey, stored: ApiKey | None, now_ms: int) -> bool:
    """Whether `sent` is the key that is stored under its id, and valid now. Takes the same time for every wrong secret."""
    digest = digest_of(sent.secret)
    expected = stored.digest if stored is not None else bytes(len(digest))
    same = hmac.compare_digest(digest, expected)
    return stored is not None and same and stored.id == sent.id and stored.valid_at(now_ms)


def administers(keys: Iterable[ApiKey], now_ms: int) -> bool:
    """Whether one of the keys can make others."""
    return any(key.valid_at(now_ms) and refusal_of(key, AccessLevel.ADMIN, EVERY_COLLECTION) is None for key in keys)


def refusal_of(key: ApiKey, needs: AccessLevel, collection: str | None = None) -> AccessRefusal | None:
    """Why a call that needs a role is refused to the holder of `key`; None when it is not.

    `collection` is the one that the call names, EVERY_COLLECTION for a call that concerns all of them, or None.
    """
    if key.role < needs:
        return AccessRefusal.ROLE
    return None if collection is None or key.covers(collection) else AccessRefusal.SCOPE
