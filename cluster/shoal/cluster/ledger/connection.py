"""Opening a ledger: SQLite by default, PostgreSQL by URL; its schema; and the two kinds of transaction on it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, event, inspect, make_url, select, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError, ProgrammingError

from shoal.cluster.ledger.databases.postgresql import open_postgresql
from shoal.cluster.ledger.databases.sqlite import READ_ONLY, check_files, open_sqlite
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.ledger.schema import SCHEMA_REVISION, lease, metadata

IDS_PER_QUERY = 4096
"""PostgreSQL takes at most 65,535 parameters in a statement, SQLite 32,766."""
# An arbitrary key, the same in every version of Shoal.
_VERSION_TABLE = """
    CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))
"""
_MIGRATION_LOCK = 0x53686F616C

T = TypeVar("T")


def sqlite_url(path: Path) -> str:
    """URL of a ledger in a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def open_engine(url: str, read_only: bool, create: bool = True) -> Engine:
    """Opens the ledger at `url`: sqlite:///PATH, or postgresql://USER@HOST/DATABASE.

    For writing, a missing SQLite file and its folder are created; call `migrate` next. For reading, or without `create`,
    the ledger must exist with the schema that this code knows. Raises LedgerUnreadable otherwise, or when the database
    cannot be reached.
    """
    create = create and not read_only
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise LedgerUnreadable(repr(url), "not a database URL") from None
    backend = parsed.get_backend_name()
    display_url = _display_url(parsed)
    if backend == "sqlite":
        engine = open_sqlite(display_url, read_only, create)
    elif backend in ("postgresql", "postgres"):
        engine = open_postgresql(parsed.set(drivername="postgresql+psycopg"), display_url, read_only)
    else:
        raise LedgerUnreadable(display_url, f"{backend} is not supported, only sqlite and postgresql are")
    event.listen(engine, "handle_error", lambda context: _explain(display_url, context))
    try:
        with reading(engine) as connection:
            revision = _revision(connection)
            if revision not in (None, SCHEMA_REVISION) and (not create or revision > SCHEMA_REVISION):
                relation = "a newer" if revision > SCHEMA_REVISION else "an older"
                raise LedgerUnreadable(
                    display_url, f"made by {relation} version of Shoal (schema {revision}; this one uses {SCHEMA_REVISION})"
                )
            if revision is None and not create:
                raise LedgerUnreadable(display_url, "this database holds no ledger yet")
    except LedgerUnreadable:
        engine.dispose()
        raise
    return engine


def ledger_folder(engine: Engine) -> str:
    """The folder of a ledger in a SQLite file; empty for a database server."""
    return str(Path(engine.url.database or "").parent) if engine.dialect.name == "sqlite" else ""


def migrate(engine: Engine) -> None:
    """Brings the schema to SCHEMA_REVISION, in one transaction. Raises LedgerUnreadable when a newer Shoal made it."""
    with engine.begin() as connection:
        _lock_migration(connection)
        revision = _revision(connection)
        if revision is None:
            # The same tables as after all revisions, without importing Alembic, which takes long.
            metadata.create_all(connection)
            connection.execute(text(_VERSION_TABLE))
            connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": SCHEMA_REVISION})
    if revision in (None, SCHEMA_REVISION):
        return
    upgrade(engine)


def upgrade(engine: Engine) -> None:
    """Runs the revisions in `migrations` that the ledger lacks; on an empty database all of them."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        _lock_migration(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerUnreadable(_display_url(engine.url), f"made by another version of Shoal ({error})") from error


def _lock_migration(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


@contextmanager
def committing(engine: Engine) -> Iterator[Connection]:
    """A writing transaction that is durable when the block has ended.

    Raises LedgerUnreadable when the ledger's files are not those that were opened: before anything is written, and after the
    commit, which then may be lost.
    """
    check_files(engine)
    with engine.begin() as connection:
        yield connection
    check_files(engine)


def check_readable(engine: Engine) -> None:
    """Raises LedgerUnreadable when the ledger is no longer there: its server, its tables, or the files that were opened."""
    check_files(engine)
    with reading(engine) as connection:
        connection.execute(select(lease.c.epoch)).first()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction on one consistent state of the ledger; it takes no lock."""
    options: dict[str, Any] = {READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def chunks(values: Sequence[T], most: int = IDS_PER_QUERY) -> Iterator[Sequence[T]]:
    """Splits values into runs of at most `most`, by default as many as fit into one statement."""
    for start in range(0, len(values), most):
        yield values[start : start + most]


def _display_url(url: URL) -> str:
    """How messages name the database: the path of a SQLite file, or a URL without its password."""
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or "").absolute())
    return url.set(query={}).render_as_string(hide_password=True)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _explain(display_url: str, context: ExceptionContext) -> None:
    """Reports failures of the environment as a one-line LedgerUnreadable; errors in our own SQL pass through."""
    original = context.original_exception
    if _lacks_tables(str(original)) and isinstance(context.sqlalchemy_exception, (OperationalError, ProgrammingError)):
        raise LedgerUnreadable(display_url, "its tables were dropped") from original
    if isinstance(original, sqlite3.Error) and getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        # SQLite raises OperationalError for bad SQL too; only the error code distinguishes the two.
        return
    broken = type(context.sqlalchemy_exception) is DatabaseError and isinstance(original, sqlite3.DatabaseError)
    if broken or isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError)):
        lines = str(original).strip().splitlines()
        raise LedgerUnreadable(display_url, lines[0] if lines else type(original).__name__) from original


def _lacks_tables(message: str) -> bool:
    """Whether a message of SQLite or PostgreSQL says that one of the ledger's tables does not exist."""
    return any(
        message.startswith((f"no such table: {name}", f'relation "{name}" does not exist')) for name in metadata.tables
    )
