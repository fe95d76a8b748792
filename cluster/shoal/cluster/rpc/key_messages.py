"""API keys as messages. Pure."""

from __future__ import annotations

from shoal.cluster.decisions.access import ApiKey
from shoal.v1 import keys_pb2


def key_message(key: ApiKey, now_ms: int) -> keys_pb2.ApiKey:
    """The key without its digest, as it is at a Unix time."""
    return keys_pb2.ApiKey(
        id=key.id,
        name=key.name,
        # The numbers of the enum are those of the message: a test compares them.
        role=key.role.value,  # pyright: ignore[reportArgumentType]
        collections=key.collections,
        created_at_ms=key.created_at_ms,
        expires_at_ms=key.expires_at_ms,
        revoked_at_ms=key.revoked_at_ms,
        valid=key.valid_at(now_ms),
    )
