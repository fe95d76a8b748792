"""Which index worker each shard is placed on."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, update

from shoal.cluster.ledger import schema

_shard = schema.shard


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
