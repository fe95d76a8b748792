"""SQLite's query plans: a partial index is useless if a query differs from its predicate by a word."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from ledgers import open_ledger
from sqlalchemy import event

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.ledger.connection import sqlite_url


def test_a_search_scans_no_table(tmp_path: Path) -> None:
    with open_ledger(sqlite_url(tmp_path / "ledger.sqlite")) as ledger:
        collection = ledger.create()
        generation = collection.generation.id
        ledger.upsert(*(Incoming(str(number), "x") for number in range(50)))
        asked: list[tuple[str, tuple[Any, ...]]] = []
        for engine in (ledger.engine, ledger.reading_engine):
            event.listen(engine, "before_cursor_execute", lambda _c, _u, sql, values, *_: asked.append((sql, values)))
        ledger.pending(generation)
        ledger.reader.cut("papers", AwaitedWrites(WriteToken(collection.id, (), 1)))
        ledger.reader.cut("papers", AwaitedWrites(WriteToken.of(collection.id, 1)))
        ledger.reader.cut("papers", AwaitedWrites(WriteToken.of(collection.id, 0, 7)))
        ledger.reader.hydrate(collection.id, generation, ["1", "2"], include_text=True)
        ledger.reader.failed("papers", 10)
        file = tmp_path / "ledger.sqlite"
        with closing(sqlite3.connect(file)) as connection:
            plans = [
                (sql, [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)])
                for sql, values in asked
                if sql.startswith("SELECT")
            ]
    assert len(plans) > 8
    for sql, steps in plans:
        assert not [step for step in steps if step.startswith("SCAN") and "CONSTANT" not in step], (sql, steps)
        assert "GROUP BY entry.generation_id, entry.shard, entry.removal" not in sql or steps == [
            "SEARCH entry USING COVERING INDEX entry_pending_count (generation_id=?)"
        ], (sql, steps)
        assert "entry.priority = ?" not in sql or steps == [
            "SEARCH entry USING INDEX entry_pending (generation_id=? AND priority=?)"
        ], (sql, steps)
