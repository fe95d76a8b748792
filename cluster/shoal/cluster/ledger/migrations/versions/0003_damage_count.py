"""Renames the number of damage reports of a shard from `losses` to `damage_count`."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Renames the column in place; both databases keep its values."""
    op.alter_column("shard", "losses", new_column_name="damage_count")
