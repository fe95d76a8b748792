"""Places shards, keeps their replicas at the manifest, and seals them."""
