"""API keys as records, read and changed in the caller's transaction."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from shoal.cluster.decisions.access import AccessLevel, ApiKey
from shoal.cluster.ledger import schema
from shoal.cluster.ledger.errors import KeyNotFound

_key = schema.api_key
_ALL = select(_key).order_by(_key.c.created_at_ms, _key.c.id)
_BY_ID = select(_key)


def all_keys(connection: Connection) -> list[ApiKey]:
    """Every key, oldest first; revoked and expired ones too."""
    return [_record(row) for row in connection.execute(_ALL)]


def find_key(connection: Connection, id: str) -> ApiKey | None:
    """The key of that id."""
    row = connection.execute(_BY_ID.where(_key.c.id == id)).first()
    return None if row is None else _record(row)


def insert_key(connection: Connection, key: ApiKey) -> None:
    """Stores a new key; its id must be new."""
    connection.execute(
        insert(_key).values(
            id=key.id,
            name=key.name,
            digest=key.digest,
            role=int(key.role),
            collections=json.dumps(list(key.collections)),
            created_at_ms=key.created_at_ms,
            expires_at_ms=key.expires_at_ms,
            revoked_at_ms=key.revoked_at_ms,
        )
    )


def revoke_key(connection: Connection, id: str, now_ms: int) -> ApiKey:
    """Revokes a key for good and returns it; a revoked one keeps its time. Raises KeyNotFound."""
    connection.execute(update(_key).where(_key.c.id == id, _key.c.revoked_at_ms.is_(None)).values(revoked_at_ms=now_ms))
    key = find_key(connection, id)
    if key is None:
        raise KeyNotFound(id)
    return key


def _record(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        digest=bytes(row.digest),
        role=AccessLevel(row.role),
        collections=tuple(json.loads(row.collections)),
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
        revoked_at_ms=row.revoked_at_ms,
    )
