import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledgers import Ledger, open_ledger
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError, ProgrammingError

import shoal.cluster.ledger
from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.ledger.connection import migrate, open_engine, sqlite_url, upgrade
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.ledger.schema import SCHEMA_REVISION, metadata
from support.postgresql import free_port


def refused(url: str, read_only: bool) -> str:
    with pytest.raises(LedgerUnreadable) as caught:
        open_engine(url, read_only)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_migrations_create_the_tables_that_the_code_uses(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_new_ledger_is_the_same_as_one_made_by_all_migrations(ledger_url: str, tmp_path: Path) -> None:
    """New ones are created without Alembic."""
    engine = open_engine(ledger_url, read_only=False)
    upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrate(engine)
    engine.dispose()
    if not ledger_url.startswith("sqlite"):
        return
    with open_ledger(sqlite_url(tmp_path / "new.sqlite")) as new:
        assert _definitions(new.url) == _definitions(ledger_url)


def _definitions(url: str) -> dict[str, object]:
    """Tables, whatever the order of their columns, and indexes."""
    engine = open_engine(url, read_only=True)
    found: dict[str, object] = {}
    with engine.connect() as connection:
        for kind, name, sql in connection.execute(text("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")):
            words = " ".join(sql.replace('"', "").split())
            if kind == "table":
                columns = connection.execute(
                    text(f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{name}')")
                )
                keys = connection.execute(text(f"SELECT * FROM pragma_foreign_key_list('{name}')"))
                found[name] = (
                    sorted(map(tuple, columns)),
                    sorted(map(tuple, keys)),
                    words.rpartition(")")[2],
                    "AUTOINCREMENT" in words,
                )
            else:
                found[name] = words
    engine.dispose()
    return found


def test_the_newest_revision_is_the_one_that_readers_ask_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(shoal.cluster.ledger.__path__[0]) / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_a_ledger_is_the_same_when_it_is_opened_again(ledger_url: str) -> None:
    with open_ledger(ledger_url) as ledger:
        made = ledger.create()
        ledger.upsert(Incoming("a", "reef"))
    with open_ledger(ledger_url) as ledger:
        assert ledger.epoch == 2
        assert ledger.reader.collection("papers").generation == made.generation
        assert [document.text for document in ledger.reader.get("papers", ["a"])] == ["reef"]


def test_a_folder_is_made_and_may_have_any_name(tmp_path: Path) -> None:
    with open_ledger(sqlite_url(tmp_path / "100% new?" / "#a b" / "ledger.sqlite")) as ledger:
        ledger.create()
    assert (tmp_path / "100% new?" / "#a b" / "ledger.sqlite").exists()


def test_other_users_cannot_read_the_files(tmp_path: Path) -> None:
    """Neither those of a new ledger nor those that an older version made readable."""
    path = tmp_path / "ledger.sqlite"
    for _ in range(2):
        with open_ledger(sqlite_url(path)) as ledger:
            if not ledger.reader.collections():
                ledger.create()
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
            assert modes == dict.fromkeys(("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"), 0o600)
            path.chmod(0o644)


def test_a_reader_creates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert refused(sqlite_url(path), read_only=True) == f"ledger {path}: unable to open database file"
    assert not path.exists()


def test_a_reader_cannot_write(ledger: Ledger) -> None:
    refusals = (LedgerUnreadable, InternalError)
    with pytest.raises(refusals, match=r"read-?only"), ledger.reading_engine.begin() as connection:
        connection.execute(text("UPDATE collection SET name = 'x'"))


def test_a_reader_waits_for_the_schema(ledger_url: str) -> None:
    engine = open_engine(ledger_url, read_only=False)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (id INTEGER)"))
    assert refused(ledger_url, read_only=True).endswith("this database holds no ledger yet")
    engine.dispose()


def test_a_ledger_of_a_newer_version_is_refused(ledger_url: str) -> None:
    with open_ledger(ledger_url) as ledger, ledger.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for read_only in (True, False):
        message = refused(ledger_url, read_only)
        assert message.endswith(f"made by a newer version of Shoal (schema 9999; this one uses {SCHEMA_REVISION})")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_not_a_database(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database at all " * 500)
    assert refused(sqlite_url(path), read_only) == f"ledger {path}: file is not a database"


def test_a_folder_instead_of_the_file(tmp_path: Path) -> None:
    assert refused(sqlite_url(tmp_path), read_only=False) == f"ledger {tmp_path}: unable to open database file"


def test_a_file_instead_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = refused(sqlite_url(tmp_path / "file" / "ledger.sqlite"), read_only=False)
    assert message.endswith("cannot create its folder: File exists")


def test_a_page_damaged_while_the_ledger_is_open_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with open_ledger(sqlite_url(path)) as ledger:
        ledger.create()
        ledger.upsert(*(Incoming(str(number), "reef " * 100) for number in range(500)))
    damaged = tmp_path / "damaged.sqlite"
    shutil.copy(path, damaged)
    with damaged.open("r+b") as file:
        size = damaged.stat().st_size
        for offset in range(4096 * 30, size - 4096, 4096):
            file.seek(offset)
            file.write(b"\xff" * 512)
    with (
        pytest.raises(LedgerUnreadable, match=r"damaged\.sqlite: database disk image is malformed$"),
        open_ledger(sqlite_url(damaged)) as ledger,
    ):
        for number in range(500):
            ledger.reader.get("papers", [str(number)])


def test_urls_that_cannot_be_used() -> None:
    assert refused("shoal-data", read_only=True) == "ledger 'shoal-data': not a database URL"
    message = refused("mysql://root:secret@db/x", read_only=True)
    assert message == "ledger mysql://root:***@db/x: mysql is not supported, only sqlite and postgresql are"


def test_a_server_that_does_not_answer() -> None:
    port = free_port()
    message = refused(f"postgresql://shoal:secret@127.0.0.1:{port}/shoal", read_only=False)
    assert message.startswith(f"ledger postgresql://shoal:***@127.0.0.1:{port}/shoal: ")
    assert "secret" not in message


def test_our_own_mistakes_are_not_reported_as_an_unreadable_ledger(ledger: Ledger) -> None:
    with pytest.raises((OperationalError, ProgrammingError), match="nonsense"), ledger.engine.begin() as connection:
        connection.execute(text("SELECT nonsense FROM collection"))


# From the newest revision back to the first: how each is undone, and what is left of the number of damage reports then.
UNDO = [
    ("0005", "DROP TABLE document_source", 1),
    ("0004", "DROP TABLE api_key", 1),
    ("0003", "DROP TABLE write_set", 1),
    ("0002", "ALTER TABLE shard RENAME COLUMN damage_count TO losses", 1),
    ("0001", "ALTER TABLE shard DROP COLUMN losses", 0),
]


@pytest.mark.parametrize(("revision", "damage_count"), [(revision, damage_count) for revision, _, damage_count in UNDO])
def test_a_ledger_of_an_older_release_is_migrated_with_everything_in_it(
    ledger_url: str, revision: str, damage_count: int
) -> None:
    with open_ledger(ledger_url) as ledger:
        generation = ledger.create().generation.id
        ledger.upsert(Incoming("a", "reef"))
        ledger.drain(generation)
        holder = next(shard.number for shard in ledger.reader.cut("papers").shards if shard.through)
        ledger.progress.report_damage(generation, holder, [1], sealed=False)
        ledger.drain(generation)
        before = ledger.reader.cut("papers")
        with ledger.engine.begin() as connection:
            for older, undo, _ in UNDO:
                if older >= revision:
                    connection.execute(text(undo))
            connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    assert refused(ledger_url, read_only=True).endswith(
        f"made by an older version of Shoal (schema {revision}; this one uses {SCHEMA_REVISION})"
    )
    expected = [replace(shard, damage_count=damage_count * shard.damage_count) for shard in before.shards]
    assert sum(shard.damage_count for shard in expected) == damage_count
    with open_ledger(ledger_url) as ledger, ledger.engine.connect() as connection:
        assert ledger.reader.cut("papers") == replace(before, shards=expected)
        assert [document.text for document in ledger.reader.get("papers", ["a"])] == ["reef"]
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(ledger: Ledger) -> None:
    made = ledger.create()
    migrate(ledger.engine)
    assert ledger.reader.collection("papers") == made
