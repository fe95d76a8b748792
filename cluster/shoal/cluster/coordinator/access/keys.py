"""Creates and revokes API keys."""

from __future__ import annotations

import secrets

from shoal.cluster.clock import wall_clock_ms
from shoal.cluster.coordinator.ledger_access import LedgerAccess
from shoal.cluster.decisions.access import ID_BYTES, SECRET_BYTES, AccessLevel, ApiKey, digest_of, key_text


class Keys:
    """Belongs to the coordinator's event loop. Gateways ask the ledger at every call, so they need not be notified."""

    def __init__(self, ledger: LedgerAccess) -> None:
        self._ledger = ledger

    async def create(
        self, name: str, role: AccessLevel, collections: tuple[str, ...], lifetime_ms: int | None
    ) -> tuple[ApiKey, str]:
        """Creates a key; returns it with its text, which is stored nowhere."""
        id, secret = secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
        now_ms = wall_clock_ms()
        expires_at_ms = None if lifetime_ms is None else now_ms + lifetime_ms
        key = ApiKey(id, name, digest_of(secret), role, collections, now_ms, expires_at_ms)
        await self._ledger.threads.write(self._ledger.writer.create_key, key)
        return key, key_text(id, secret)

    async def revoke(self, id: str) -> ApiKey:
        """Revokes a key for good; every call that begins after this has returned is refused. Raises KeyNotFound."""
        return await self._ledger.threads.write(self._ledger.writer.revoke_key, id, wall_clock_ms())
