"""The coordinator's lease: who may write, and the epoch that fences out earlier holders."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from shoal.cluster.ledger import schema
from shoal.cluster.ledger.connection import committing, reading
from shoal.cluster.ledger.errors import Deposed, LeaseHeld
from shoal.cluster.ledger.records import Lease

_COLUMNS = (schema.lease.c.holder, schema.lease.c.address, schema.lease.c.epoch, schema.lease.c.expires_at_ms)


def acquire_lease(engine: Engine, holder: str, address: str, ttl_ms: int, now_ms: int) -> int:
    """Takes the lease for `ttl_ms` and returns its new epoch. From now on writes of every earlier epoch are refused.

    The same holder need not wait after a restart. Raises LeaseHeld when another holds it and it has not expired.
    """
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    with committing(engine) as connection:
        # The row must exist to be locked: two coordinators that start on an empty ledger must not both get epoch 1.
        connection.execute(
            insert(schema.lease).values(id=1, holder="", address="", epoch=0, expires_at_ms=0).on_conflict_do_nothing()
        )
        held = _locked(connection)
        if held is not None and held.holder != holder and held.expires_at_ms > now_ms:
            raise LeaseHeld(held.holder, held.address, held.expires_at_ms - now_ms)
        epoch = (held.epoch if held is not None else 0) + 1
        connection.execute(
            update(schema.lease).values(holder=holder, address=address, epoch=epoch, expires_at_ms=now_ms + ttl_ms)
        )
    return epoch


def renew_lease(engine: Engine, epoch: int, ttl_ms: int, now_ms: int) -> None:
    """Keeps the lease for another `ttl_ms`, even if it has expired. Raises Deposed when another holder has taken it."""
    with writing(engine, epoch) as connection:
        connection.execute(update(schema.lease).values(expires_at_ms=now_ms + ttl_ms))


def release_lease(engine: Engine, epoch: int) -> None:
    """Lets another coordinator take the lease at once; does nothing when one already has."""
    with committing(engine) as connection:
        connection.execute(update(schema.lease).where(schema.lease.c.epoch == epoch).values(expires_at_ms=0))


def read_lease(engine: Engine) -> Lease | None:
    """The lease as it stands, expired or not; None when no coordinator has ever run."""
    with reading(engine) as connection:
        row = connection.execute(select(*_COLUMNS)).first()
    return Lease(row.holder, row.address, row.epoch, row.expires_at_ms) if row is not None else None


@contextmanager
def writing(engine: Engine, epoch: int) -> Iterator[Connection]:
    """A transaction of the coordinator that holds `epoch`; raises Deposed when another has taken over.

    Such transactions run one at a time: SQLite locks the database, PostgreSQL the lease's row. None can commit after the
    lease has been taken over, and counters need no further locks.
    """
    with committing(engine) as connection:
        held = _locked(connection)
        current = held.epoch if held is not None else 0
        if current != epoch:
            raise Deposed(epoch, current)
        yield connection


def _locked(connection: Connection) -> Lease | None:
    # SQLite has no FOR UPDATE, and SQLAlchemy leaves it out: there the transaction already locks the whole database.
    row = connection.execute(select(*_COLUMNS).with_for_update()).first()
    return Lease(row.holder, row.address, row.epoch, row.expires_at_ms) if row is not None else None
