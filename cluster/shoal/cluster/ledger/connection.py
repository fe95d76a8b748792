"""Opening a ledger: SQLite by default, PostgreSQL by URL; its schema; and the two kinds of transaction on it."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.ledger.schema import SCHEMA_REVISION

BUSY_TIMEOUT_S = 15.0
"""How long a transaction waits for another process's write to end before it fails."""
IDS_PER_QUERY = 4096
"""PostgreSQL takes at most 65,535 parameters in a statement, SQLite 32,766."""
_READ_ONLY = "ledger_read_only"
# An arbitrary key, the same in every version of Shoal.
_MIGRATION_LOCK = 0x53686F616C

T = TypeVar("T")


def sqlite_url(path: Path) -> str:
    """URL of a ledger in a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def open_engine(url: str, read_only: bool) -> Engine:
    """Opens the ledger at `url`: sqlite:///PATH, or postgresql://USER@HOST/DATABASE.

    For writing, a missing SQLite file and its folder are created; call `migrate` next. For reading, the ledger must exist
    with the schema that this code knows. Raises LedgerUnreadable otherwise, or when the database cannot be reached.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise LedgerUnreadable(repr(url), "not a database URL") from None
    backend = parsed.get_backend_name()
    display_url = _display_url(parsed)
    if backend == "sqlite":
        engine = _sqlite(display_url, read_only)
    elif backend in ("postgresql", "postgres"):
        engine = _postgresql(parsed.set(drivername="postgresql+psycopg"), display_url, read_only)
    else:
        raise LedgerUnreadable(display_url, f"{backend} is not supported, only sqlite and postgresql are")
    event.listen(engine, "handle_error", lambda context: _explain(display_url, context))
    try:
        with reading(engine) as connection:
            revision = _revision(connection)
            if revision not in (None, SCHEMA_REVISION) and (read_only or revision > SCHEMA_REVISION):
                relation = "a newer" if revision > SCHEMA_REVISION else "an older"
                raise LedgerUnreadable(
                    display_url, f"made by {relation} version of Shoal (schema {revision}; this one uses {SCHEMA_REVISION})"
                )
            if revision is None and read_only:
                raise LedgerUnreadable(display_url, "this database holds no ledger yet")
    except LedgerUnreadable:
        engine.dispose()
        raise
    return engine


def migrate(engine: Engine) -> None:
    """Brings the schema to SCHEMA_REVISION, in one transaction. Raises LedgerUnreadable when a newer Shoal made it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerUnreadable(_display_url(engine.url), f"made by another version of Shoal ({error})") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction on one consistent state of the ledger; it takes no lock."""
    options: dict[str, Any] = {_READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Splits values into runs that fit into one statement."""
    for start in range(0, len(values), IDS_PER_QUERY):
        yield values[start : start + IDS_PER_QUERY]


def _display_url(url: URL) -> str:
    """How messages name the database: the path of a SQLite file, or a URL without its password."""
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or "").absolute())
    return url.set(query={}).render_as_string(hide_password=True)


def _sqlite(path: str, read_only: bool) -> Engine:
    if not read_only:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerUnreadable(path, f"cannot create its folder: {error.strerror}") from error
        _keep_private(path)

    def connect() -> sqlite3.Connection:
        # Readers open the file for writing as well; otherwise they could not share the write-ahead log after a crash.
        mode = "rw" if read_only else "rwc"
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
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        URL.create("sqlite", database=path), creator=connect, poolclass=QueuePool, execution_options={_READ_ONLY: read_only}
    )
    event.listen(engine, "begin", _begin)
    return engine


def _keep_private(path: str) -> None:
    """Lets only the owner read the ledger's file, which holds all documents. SQLite gives its other files the same mode."""
    # If this fails, opening the database reports why.
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):
            if os.stat(name).st_uid == os.geteuid():
                os.chmod(name, 0o600)


def _begin(connection: Connection) -> None:
    # A writer takes the lock at once: one that began as a reader could not upgrade after another's commit.
    only_reads = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def _postgresql(url: URL, display_url: str, read_only: bool) -> Engine:
    try:
        # A pooled connection may have died with a restarted server, hence the ping.
        return create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": int(BUSY_TIMEOUT_S)},
            execution_options={"postgresql_readonly": read_only},
        )
    except ImportError as error:
        raise LedgerUnreadable(display_url, "psycopg is missing: pip install 'shoal[cluster,postgresql]'") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _explain(display_url: str, context: ExceptionContext) -> None:
    """Reports failures of the environment as a one-line LedgerUnreadable; errors in our own SQL pass through."""
    original = context.original_exception
    if isinstance(original, sqlite3.Error) and getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        # SQLite raises OperationalError for bad SQL too; only the error code distinguishes the two.
        return
    broken = type(context.sqlalchemy_exception) is DatabaseError and isinstance(original, sqlite3.DatabaseError)
    if broken or isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError)):
        lines = str(original).strip().splitlines()
        raise LedgerUnreadable(display_url, lines[0] if lines else type(original).__name__) from original
