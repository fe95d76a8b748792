"""A shard on storage: segments, sealed indexes, sealing, and clearing up."""
