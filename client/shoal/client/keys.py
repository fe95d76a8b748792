"""API keys as the client shows them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AccessRole(StrEnum):
    """What an API key may do; each role may do what those before it may."""

    READ = "read"
    """Search, read documents and status, embed."""
    WRITE = "write"
    """Write and delete documents."""
    ADMIN = "admin"
    """Create and drop collections; with a scope of every collection also keys."""


@dataclass(frozen=True, slots=True)
class ApiKeyInfo:
    """An API key without its secret. Times are Unix times in milliseconds."""

    id: str
    name: str
    role: AccessRole
    collections: tuple[str, ...]
    """Names, or beginnings of names with "*" at the end; "*" alone is every collection."""
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    valid: bool
    """Neither revoked nor expired when the server answered."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just created."""

    info: ApiKeyInfo
    text: str
    """What its owner sends. It cannot be shown again."""
