"""A shard on storage: segments, sealed indexes, sealing, and garbage collection."""
