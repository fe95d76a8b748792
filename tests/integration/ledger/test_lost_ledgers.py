"""A SQLite ledger whose files are taken away while it is in use: no write is acknowledged that only lies in a lost file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledgers import Ledger, open_ledger
from sqlalchemy import event, text

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.ledger.connection import check_readable, open_engine, sqlite_url
from shoal.cluster.ledger.errors import LedgerError, LedgerUnreadable
from shoal.cluster.ledger.lease import read_lease, renew_lease

DELETED = "its file was deleted or moved away while in use"
REPLACED = "its file was replaced by another while in use"
LOG_DELETED = "its write-ahead log was deleted or moved away while in use"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    """With a collection and one document."""
    with open_ledger(sqlite_url(folder / "ledger.sqlite")) as opened:
        opened.create()
        opened.upsert(Incoming("a", "reef"))
        yield opened


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LedgerUnreadable) as caught:
        call()
    return caught.value.reason


def delete_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def delete_file(folder: Path) -> None:
    (folder / "ledger.sqlite").unlink()


def delete_log(folder: Path) -> None:
    (folder / "ledger.sqlite-wal").unlink()


def move_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def restore_copy(folder: Path) -> None:
    shutil.copy(folder / "ledger.sqlite", folder / "copy")
    (folder / "copy").replace(folder / "ledger.sqlite")


def put_empty_file(folder: Path) -> None:
    delete_file(folder)
    (folder / "ledger.sqlite").touch()


@pytest.mark.parametrize(
    ("take_away", "reason"),
    [
        (delete_folder, DELETED),
        (delete_file, DELETED),
        (move_folder, DELETED),
        (restore_copy, REPLACED),
        (put_empty_file, REPLACED),
        (delete_log, LOG_DELETED),
    ],
)
def test_writes_are_refused_once_the_files_are_gone(
    ledger: Ledger, folder: Path, take_away: Callable[[Path], None], reason: str
) -> None:
    take_away(folder)
    writes: list[Callable[[], object]] = [
        lambda: ledger.upsert(Incoming("b", "sea")),
        lambda: ledger.delete("a"),
        lambda: ledger.create("more"),
        lambda: ledger.writer.drop_collection("papers"),
        lambda: ledger.progress.retry_failed("papers", None),
        lambda: renew_lease(ledger.engine, ledger.epoch, 1000, 0),
    ]
    assert [refusal(write) for write in writes] == [reason] * len(writes)
    assert refusal(lambda: check_readable(ledger.reading_engine)) == reason


@pytest.mark.parametrize(
    ("take_away", "reason"), [(delete_folder, DELETED), (restore_copy, REPLACED), (delete_log, LOG_DELETED)]
)
def test_a_write_is_refused_when_the_files_go_during_its_transaction(
    ledger: Ledger, folder: Path, take_away: Callable[[Path], None], reason: str
) -> None:
    """The commit itself succeeds: SQLite does not notice."""
    event.listen(ledger.engine, "commit", lambda _: take_away(folder), once=True)
    assert refusal(lambda: ledger.upsert(Incoming("b", "sea"))) == reason


def test_a_folder_that_is_moved_back_is_the_ledger_again(ledger: Ledger, folder: Path) -> None:
    move_folder(folder)
    assert refusal(lambda: ledger.upsert(Incoming("b", "sea"))) == DELETED
    folder.with_name("elsewhere").rename(folder)
    ledger.upsert(Incoming("c", "shore"))
    check_readable(ledger.reading_engine)
    with open_ledger(ledger.url) as again:
        assert [document.id for document in again.reader.get("papers", ["a", "b", "c"])] == ["a", "c"]


def test_documents_can_still_be_read_from_a_deleted_ledger(ledger: Ledger, folder: Path) -> None:
    delete_folder(folder)
    assert [document.text for document in ledger.reader.get("papers", ["a"])] == ["reef"]


def test_further_connections_do_not_make_the_file_again(ledger: Ledger, folder: Path) -> None:
    delete_file(folder)
    with ledger.engine.connect():
        assert refusal(lambda: ledger.engine.connect().close()) == DELETED
    assert not (folder / "ledger.sqlite").exists()


def test_a_new_connection_does_not_read_another_file(ledger: Ledger, folder: Path) -> None:
    """It would mix two states in one process."""
    restore_copy(folder)
    with ledger.reading_engine.connect():
        assert refusal(lambda: read_lease(ledger.reading_engine)) == REPLACED


def test_a_coordinator_that_restarts_makes_no_new_ledger(folder: Path) -> None:
    path = folder / "ledger.sqlite"
    folder.mkdir()
    assert refusal(lambda: open_engine(sqlite_url(path), read_only=False, create=False)) == "unable to open database file"
    path.touch()
    assert (
        refusal(lambda: open_engine(sqlite_url(path), read_only=False, create=False)) == "this database holds no ledger yet"
    )
    shutil.rmtree(folder)
    with pytest.raises(LedgerUnreadable):
        open_engine(sqlite_url(path), read_only=False, create=False)
    assert not folder.exists()


def test_a_ledger_that_became_read_only_refuses_writes_and_recovers(ledger: Ledger) -> None:
    """SQLite's error is that of a file system remounted after a disk error."""
    set_query_only(ledger, "ON")
    assert refusal(lambda: ledger.upsert(Incoming("b", "sea"))) == "attempt to write a readonly database"
    set_query_only(ledger, "OFF")
    ledger.upsert(Incoming("b", "sea"))


def set_query_only(ledger: Ledger, value: str) -> None:
    with ledger.engine.connect() as connection:
        connection.connection.cursor().execute(f"PRAGMA query_only = {value}")


@pytest.mark.parametrize("table", ["lease", "document"])
def test_dropped_tables_are_a_ledger_that_is_gone(ledger_url: str, table: str) -> None:
    with open_ledger(ledger_url) as ledger:
        ledger.create()
        with ledger.engine.begin() as connection:
            cascade = " CASCADE" if connection.dialect.name == "postgresql" else ""
            connection.execute(text(f"DROP TABLE {table}{cascade}"))
        with pytest.raises(LedgerError) as caught:
            ledger.upsert(Incoming("a", "reef"))
        assert str(caught.value).endswith(": its tables were dropped")


@pytest.mark.postgresql
def test_a_dropped_database_refuses_writes(postgresql_url: str) -> None:
    with open_ledger(postgresql_url) as ledger:
        ledger.create()
        with ledger.engine.begin() as connection:
            schema = connection.execute(text("SELECT current_schema()")).scalar_one()
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        assert refusal(lambda: ledger.upsert(Incoming("a", "reef"))) == "its tables were dropped"
        assert refusal(lambda: check_readable(ledger.reading_engine)) == "its tables were dropped"
        assert refusal(lambda: open_engine(ledger.url, read_only=False, create=False)) == "this database holds no ledger yet"
