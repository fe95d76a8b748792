"""A shard in memory: immutable snapshots, the delta, and staged rows."""
