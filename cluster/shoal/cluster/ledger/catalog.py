"""Collections and generations as records, and where shards are placed, in the caller's transaction."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, select, update

from shoal.cluster.ledger import schema
from shoal.cluster.ledger.errors import CollectionNotFound
from shoal.cluster.ledger.records import CollectionRecord, CollectionSettings, GenerationRecord

LIVE = ("active", "building")
"""States of the generations that follow every write."""

_collection, _generation, _shard = schema.collection, schema.generation, schema.shard
_GENERATION_COLUMNS = (
    _generation.c.id,
    _generation.c.collection_id,
    _collection.c.name.label("collection"),
    _generation.c.number,
    _generation.c.state,
    _generation.c.model,
    _generation.c.fingerprint,
    _generation.c.dimension,
    _generation.c.index_kind,
    _generation.c.metric,
    _generation.c.shards,
)
_COLLECTION_COLUMNS = (
    "name",
    "model",
    "dimension",
    "index_kind",
    "metric",
    "shards",
    "empty_text",
    "sequence",
    "created_at_ms",
)


_GENERATIONS = select(*_GENERATION_COLUMNS).join_from(_generation, _collection)
_COLLECTIONS = _GENERATIONS.add_columns(
    *(_collection.c[name].label(f"collection_{name}") for name in _COLLECTION_COLUMNS)
).where(_generation.c.state == "active")


def all_collections(connection: Connection) -> list[CollectionRecord]:
    """Every collection, by name."""
    return [_collection_record(row) for row in connection.execute(_COLLECTIONS.order_by(_collection.c.name)).mappings()]


def find_collection(connection: Connection, name: str) -> CollectionRecord:
    """Raises CollectionNotFound."""
    row = connection.execute(_COLLECTIONS.where(_collection.c.name == name)).mappings().first()
    if row is None:
        raise CollectionNotFound(name)
    return _collection_record(row)


def live_generations(connection: Connection, collection_id: int | None = None) -> list[GenerationRecord]:
    """Generations that follow every write, of one collection or of all, in order of id."""
    statement = _GENERATIONS.where(_generation.c.state.in_(LIVE)).order_by(_generation.c.id)
    if collection_id is not None:
        statement = statement.where(_generation.c.collection_id == collection_id)
    return [_generation_record(row) for row in connection.execute(statement).mappings()]


def find_generations(connection: Connection, ids: Sequence[int]) -> dict[int, GenerationRecord]:
    """Those of the generations that still exist, by id."""
    chosen: ColumnElement[bool] = _generation.c.id.in_(ids)
    rows = connection.execute(_GENERATIONS.where(chosen)).mappings()
    return {row["id"]: _generation_record(row) for row in rows}


def record_placements(connection: Connection, generation_id: int, workers: Mapping[int, str]) -> None:
    """See LedgerProgress.place; `workers` is not empty."""
    statement = (
        update(_shard)
        .where(_shard.c.generation_id == generation_id, _shard.c.number == bindparam("of_shard"))
        .values(worker=bindparam("name"))
    )
    connection.execute(statement, [{"of_shard": shard, "name": worker} for shard, worker in workers.items()])


def read_placements(connection: Connection) -> dict[tuple[int, int], str]:
    """See LedgerProgress.placements."""
    rows = connection.execute(select(_shard.c.generation_id, _shard.c.number, _shard.c.worker))
    return {(row.generation_id, row.number): row.worker for row in rows}


def _generation_record(row: RowMapping) -> GenerationRecord:
    return GenerationRecord(*(row[column.name] for column in _GENERATION_COLUMNS))


def _collection_record(row: RowMapping) -> CollectionRecord:
    settings = CollectionSettings(
        model=row["collection_model"],
        dimension=row["collection_dimension"],
        index=row["collection_index_kind"],
        metric=row["collection_metric"],
        shards=row["collection_shards"],
        empty_text=row["collection_empty_text"],
    )
    return CollectionRecord(
        row["collection_id"],
        row["collection_name"],
        settings,
        row["collection_sequence"],
        row["collection_created_at_ms"],
        _generation_record(row),
    )
