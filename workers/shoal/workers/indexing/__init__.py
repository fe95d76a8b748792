"""Index workers: shards as sealed index, exact delta and tombstones, and the immutable files they are made from."""
