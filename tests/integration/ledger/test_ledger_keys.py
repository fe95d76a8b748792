"""API keys in the ledger: kept whole, revoked once and for good, and only by the holder of the lease."""

import asyncio
from dataclasses import replace

import pytest
from ledgers import NOW_MS, Ledger
from sqlalchemy import text

from shoal.cluster.decisions.access import AccessLevel, ApiKey, digest_of
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.ledger.connection import open_engine
from shoal.cluster.ledger.errors import Deposed, KeyNotFound
from shoal.cluster.ledger.lease import acquire_lease
from shoal.cluster.ledger.reader import LedgerReader

KEY = ApiKey("0a", "the name \u00e9", digest_of("secret"), AccessLevel.WRITE, ("a", "b*"), NOW_MS, NOW_MS + 1)


def test_a_key_comes_back_as_it_was_stored(ledger: Ledger) -> None:
    later = replace(KEY, id="00", created_at_ms=NOW_MS + 5, expires_at_ms=None, collections=("*",))
    ledger.writer.create_key(later)
    ledger.writer.create_key(KEY)
    assert ledger.reader.keys() == [KEY, later]
    assert ledger.reader.key("0a") == KEY and ledger.reader.key("0b") is None


def test_a_key_is_revoked_once(ledger: Ledger) -> None:
    ledger.writer.create_key(KEY)
    assert ledger.writer.revoke_key("0a", NOW_MS + 7) == replace(KEY, revoked_at_ms=NOW_MS + 7)
    assert ledger.writer.revoke_key("0a", NOW_MS + 9).revoked_at_ms == NOW_MS + 7
    assert ledger.reader.key("0a") == replace(KEY, revoked_at_ms=NOW_MS + 7)
    with pytest.raises(KeyNotFound, match="no API key has the id '0b'"):
        ledger.writer.revoke_key("0b", NOW_MS)


def test_only_the_holder_of_the_lease_changes_keys(ledger: Ledger) -> None:
    ledger.writer.create_key(KEY)
    acquire_lease(ledger.engine, "other", "", 1000, NOW_MS + 70_000)
    with pytest.raises(Deposed):
        ledger.writer.create_key(replace(KEY, id="01"))
    with pytest.raises(Deposed):
        ledger.writer.revoke_key("0a", NOW_MS)
    assert ledger.reader.keys() == [KEY]


def test_a_gateway_reads_a_key_again_only_when_the_ledger_has_changed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = LedgerReader.key
    monkeypatch.setattr(LedgerReader, "key", lambda self, id: (asked.append(id), read(self, id))[1])

    async def look() -> None:
        reads = LedgerReads(open_engine(ledger.url, read_only=True))
        try:
            assert await reads.key("0a") is None
            ledger.writer.create_key(KEY)
            assert [await reads.key("0a") for _ in range(3)] == [KEY] * 3
            kept = ledger.url.startswith("sqlite")
            assert len(asked) == (2 if kept else 4)
            # Each commit counts, also one that is about something else.
            for change in (ledger.create, lambda: ledger.writer.revoke_key("0a", NOW_MS)):
                change()
                before = len(asked)
                found = await reads.key("0a")
                assert len(asked) == before + 1
            assert found is not None and found.revoked_at_ms == NOW_MS
        finally:
            reads.close()

    asyncio.run(look())


def test_the_secret_is_nowhere_in_the_ledger(ledger: Ledger) -> None:
    ledger.writer.create_key(KEY)
    with ledger.reading_engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM api_key")).one()
    assert all(value != "secret" and value != b"secret" for value in row)
