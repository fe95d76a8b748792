"""Word2Vec training."""
