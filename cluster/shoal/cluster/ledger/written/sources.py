"""Which documents came from which source, such as a folder: what a later upload from there no longer has can be deleted."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, and_, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from shoal.cluster.decisions.document_sources import SourceChanges
from shoal.cluster.ledger import schema
from shoal.cluster.ledger.connection import chunks

_source = schema.document_source


def read_sources(connection: Connection, collection_id: int, ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """The sources of documents; those that have none are left out."""
    found: dict[str, set[str]] = {}
    for some in chunks(ids):
        chosen = and_(_source.c.collection_id == collection_id, _source.c.document_id.in_(some))
        for row in connection.execute(select(_source.c.document_id, _source.c.source).where(chosen)):
            found.setdefault(row.document_id, set()).add(row.source)
    return {document_id: frozenset(sources) for document_id, sources in found.items()}


def store_sources(connection: Connection, collection_id: int, changes: SourceChanges) -> None:
    """Writes the changes of one transaction."""
    of_collection = _source.c.collection_id == collection_id
    for some in chunks(sorted(changes.cleared)):
        connection.execute(delete(_source).where(of_collection, _source.c.document_id.in_(some)))
    if changes.removed:
        one = and_(_source.c.document_id == bindparam("of_document"), _source.c.source == bindparam("of_source"))
        rows = [{"of_document": document_id, "of_source": source} for document_id, source in sorted(changes.removed)]
        connection.execute(delete(_source).where(of_collection, one), rows)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    added = list(_rows(collection_id, changes.added))
    if added:
        connection.execute(insert(_source).on_conflict_do_nothing(), added)


def read_source_ids(connection: Connection, collection_id: int, source: str, after: str, limit: int) -> list[str]:
    """Ids of the documents of a source that come after one, in order."""
    chosen = and_(_source.c.collection_id == collection_id, _source.c.source == source, _source.c.document_id > after)
    return list(
        connection.execute(
            select(_source.c.document_id).where(chosen).order_by(_source.c.document_id).limit(limit)
        ).scalars()
    )


def _rows(collection_id: int, added: Mapping[str, Iterable[str]]) -> Iterable[dict[str, object]]:
    for document_id, sources in added.items():
        for source in sorted(sources):
            yield {"collection_id": collection_id, "document_id": document_id, "source": source}
