"""Runs Alembic's revisions over the connection that `connection.migrate` opened; there is no alembic.ini."""

from alembic import context

from shoal.cluster.ledger.schema import metadata

# The caller's transaction goes around all revisions: a migration happens completely or not at all, on SQLite too.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
