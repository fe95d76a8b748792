from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import Ledger, open_ledger

from shoal.cluster.ledger.connection import sqlite_url
from support.postgresql import postgresql_server, postgresql_url

__all__ = ["ledger", "ledger_url", "postgresql_server", "postgresql_url"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ledger.sqlite")
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with open_ledger(ledger_url) as opened:
        yield opened
