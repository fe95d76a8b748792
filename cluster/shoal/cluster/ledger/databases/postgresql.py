"""A ledger in a PostgreSQL database."""

from sqlalchemy import URL, Engine, create_engine

from shoal.cluster.ledger.errors import LedgerUnreadable

CONNECT_TIMEOUT_S = 15


def open_postgresql(url: URL, display_url: str, read_only: bool) -> Engine:
    """An engine on a database. Raises LedgerUnreadable when the driver is missing."""
    try:
        # A pooled connection may have died with a restarted server, hence the ping.
        return create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
            execution_options={"postgresql_readonly": read_only},
        )
    except ImportError as error:
        raise LedgerUnreadable(display_url, "psycopg is missing: pip install 'shoal[cluster,postgresql]'") from error
