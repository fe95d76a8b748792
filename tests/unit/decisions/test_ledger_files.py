"""Whether a ledger's files are still those that were opened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.health.ledger_files import FileIdentity, LedgerFiles, difference

FILE, LOG, OTHER = FileIdentity(1, 10), FileIdentity(1, 11), FileIdentity(1, 12)
OPENED = LedgerFiles(FILE, LOG)
identities = st.builds(FileIdentity, st.integers(0, 3), st.integers(0, 3))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (OPENED, ""),
        (LedgerFiles(None, None), "its file was deleted or moved away while in use"),
        (LedgerFiles(OTHER, LOG), "its file was replaced by another while in use"),
        (LedgerFiles(FileIdentity(2, 10), LOG), "its file was replaced by another while in use"),
        (LedgerFiles(FILE, None), "its write-ahead log was deleted or moved away while in use"),
        (LedgerFiles(FILE, OTHER), "its write-ahead log was replaced by another while in use"),
    ],
)
def test_each_change_has_its_reason(found: LedgerFiles, reason: str) -> None:
    assert difference(OPENED, found) == reason


def test_a_database_without_a_write_ahead_log_may_get_one() -> None:
    assert difference(LedgerFiles(FILE, None), OPENED) == ""


@given(identities, identities, st.none() | identities, st.none() | identities)
def test_only_the_same_files_are_the_ledger(
    database: FileIdentity, log: FileIdentity, database_now: FileIdentity | None, log_now: FileIdentity | None
) -> None:
    reason = difference(LedgerFiles(database, log), LedgerFiles(database_now, log_now))
    assert (reason == "") is ((database, log) == (database_now, log_now))
