"""A ledger in a SQLite file: its connections, and the check that its files are still those that were opened."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.pool import QueuePool

from shoal.cluster.decisions.health.ledger_files import FileIdentity, LedgerFiles, difference
from shoal.cluster.ledger.errors import LedgerUnreadable

BUSY_TIMEOUT_S = 15.0
"""How long a transaction waits for another process's write to end before it fails."""
READ_ONLY = "ledger_read_only"
"""Execution option: the transaction only reads."""
_FILES = "ledger_files"


class SqliteFiles:
    """The files of a ledger that one process has open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: LedgerFiles | None = None

    @property
    def opened(self) -> bool:
        """True once a connection was opened."""
        return self._opened is not None

    def remember(self) -> None:
        """A first connection was opened: from now on its files are the ledger. Raises LedgerUnreadable."""
        self._opened = self._found()

    def check(self) -> None:
        """Raises LedgerUnreadable when the files are not those that were opened, so that what is written would be lost."""
        if self._opened is not None and (reason := difference(self._opened, self._found())):
            raise LedgerUnreadable(self._path, reason)

    def _found(self) -> LedgerFiles:
        try:
            return LedgerFiles(_identity(self._path), _identity(f"{self._path}-wal"))
        except OSError as error:
            raise LedgerUnreadable(self._path, f"its files cannot be found: {error.strerror}") from error


def open_sqlite(path: str, read_only: bool, create: bool) -> Engine:
    """An engine on a file. With `create` a missing file and its folder are made. Raises LedgerUnreadable."""
    if create:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerUnreadable(path, f"cannot create its folder: {error.strerror}") from error
    if not read_only:
        _keep_private(path, create)
    files = SqliteFiles(path)

    def connect() -> sqlite3.Connection:
        # Before: a missing file must not be made again. After: it may have been replaced in between.
        files.check()
        # Readers open the file for writing as well; otherwise they could not share the write-ahead log after a crash.
        mode = "rwc" if create and not files.opened else "rw"
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
            # SQLite opens the write-ahead log with the first read.
            connection.execute("PRAGMA schema_version").fetchone()
            if files.opened:
                files.check()
            else:
                files.remember()
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        URL.create("sqlite", database=path),
        creator=connect,
        poolclass=QueuePool,
        execution_options={READ_ONLY: read_only, _FILES: files},
    )
    event.listen(engine, "begin", _begin)
    return engine


class ChangeCounter:
    """Tells within microseconds whether a SQLite ledger has changed. Belongs to one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None

    def value(self) -> int | None:
        """A number that is another one after each commit of a write; None where that cannot be told, as in PostgreSQL."""
        if self._engine.dialect.name != "sqlite":
            return None
        try:
            if self._connection is None:
                self._connection = self._engine.raw_connection()
            cursor = self._connection.cursor()
            try:
                # A connection that only ever asks this sees every change as another connection's.
                cursor.execute("PRAGMA data_version")
                row = cursor.fetchone()
                return None if row is None else int(row[0])
            finally:
                cursor.close()
        except (sqlite3.Error, LedgerUnreadable):
            return None

    def close(self) -> None:
        """Gives its connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def check_files(engine: Engine) -> None:
    """Raises LedgerUnreadable when the files of a SQLite ledger are not those that were opened."""
    files = engine.get_execution_options().get(_FILES)
    if files is not None:
        files.check()


def _identity(path: str) -> FileIdentity | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileIdentity(status.st_dev, status.st_ino)


def _keep_private(path: str, create: bool) -> None:
    """Lets only the owner read the ledger's file, which holds all documents. SQLite gives its other files the same mode."""
    # If this fails, opening the database reports why.
    if create:
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):
            if os.stat(name).st_uid == os.geteuid():
                os.chmod(name, 0o600)


def _begin(connection: Connection) -> None:
    # A writer takes the lock at once: one that began as a reader could not upgrade after another's commit.
    only_reads = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
