"""`LedgerWriter`: collections, documents and API keys, written by the coordinator that holds the lease."""

from collections.abc import Sequence

from sqlalchemy import Engine, delete, func, insert, select

from shoal.cluster.decisions.access import ApiKey
from shoal.cluster.ledger import catalog, schema
from shoal.cluster.ledger.access import api_keys
from shoal.cluster.ledger.errors import CollectionExists, CollectionNotFound, LedgerError
from shoal.cluster.ledger.group import Group
from shoal.cluster.ledger.lease import writing
from shoal.cluster.ledger.records import CollectionRecord, CollectionSettings, Dropped, WriteBatch, WriteOutcome


class LedgerWriter:
    """Writes under the lease of `epoch`: every method raises Deposed when another coordinator has taken over.

    Callers should let one thread write; several only wait for each other.
    """

    def __init__(self, engine: Engine, epoch: int) -> None:
        self._engine = engine
        self._epoch = epoch

    def create_collection(
        self, name: str, settings: CollectionSettings, fingerprint: str, dimension: int, now_ms: int
    ) -> CollectionRecord:
        """Creates a collection with its first generation, active at once; raises CollectionExists.

        `fingerprint` and `dimension` are the model's own; `settings` are stored as requested.
        """
        with writing(self._engine, self._epoch) as connection:
            if connection.execute(select(schema.collection.c.id).where(schema.collection.c.name == name)).first():
                raise CollectionExists(name)
            shared = {
                "model": settings.model,
                "index_kind": settings.index,
                "metric": settings.metric,
                "shards": settings.shards,
            }
            named = {"name": name, "dimension": settings.dimension, "empty_text": settings.empty_text}
            started = {"sequence": 0, "created_at_ms": now_ms}
            collection_id = connection.execute(
                insert(schema.collection).values(**shared, **named, **started).returning(schema.collection.c.id)
            ).scalar_one()
            first = {"number": 1, "state": "active", "fingerprint": fingerprint, "dimension": dimension}
            generation_id = connection.execute(
                insert(schema.generation)
                .values(collection_id=collection_id, **shared, **first)
                .returning(schema.generation.c.id)
            ).scalar_one()
            empty = {"generation_id": generation_id, "documents": 0, "next_ordinal": 1, "worker": ""}
            connection.execute(insert(schema.shard), [{"number": number, **empty} for number in range(settings.shards)])
            return catalog.find_collection(connection, name)

    def drop_collection(self, name: str) -> Dropped:
        """Removes a collection and all its rows; raises CollectionNotFound. The caller must delete its files."""
        collection, generation, document = schema.collection, schema.generation, schema.document
        with writing(self._engine, self._epoch) as connection:
            collection_id = connection.execute(select(collection.c.id).where(collection.c.name == name)).scalar()
            if collection_id is None:
                raise CollectionNotFound(name)
            documents = connection.execute(
                select(func.count())
                .select_from(document)
                .where(document.c.collection_id == collection_id, document.c.deleted.is_(False))
            ).scalar_one()
            of_collection = generation.c.collection_id == collection_id
            ids = list(connection.execute(select(generation.c.id).where(of_collection).order_by(generation.c.id)).scalars())
            for table in (schema.segment, schema.shard, schema.entry):
                connection.execute(delete(table).where(table.c.generation_id.in_(ids)))
            connection.execute(delete(generation).where(of_collection))
            for table in (schema.write_set, schema.document_source, document):
                connection.execute(delete(table).where(table.c.collection_id == collection_id))
            connection.execute(delete(collection).where(collection.c.id == collection_id))
        return Dropped(documents, ids)

    def write(self, batches: Sequence[WriteBatch], now_ms: int) -> list[WriteOutcome | LedgerError]:
        """Commits all batches in one transaction and returns the result of each, in order.

        A batch sees the changes of those before it. One that is rejected as a whole gets an error instead of an outcome and
        changes nothing; the others are committed. When this returns, everything is durable.
        """
        with writing(self._engine, self._epoch) as connection:
            group = Group(connection, batches, now_ms)
            outcomes = [group.admit(batch) for batch in batches]
            group.store()
        return outcomes

    def create_key(self, key: ApiKey) -> None:
        """Stores a new API key."""
        with writing(self._engine, self._epoch) as connection:
            api_keys.insert_key(connection, key)

    def revoke_key(self, id: str, now_ms: int) -> ApiKey:
        """Revokes an API key for good and returns it; raises KeyNotFound."""
        with writing(self._engine, self._epoch) as connection:
            return api_keys.revoke_key(connection, id, now_ms)
