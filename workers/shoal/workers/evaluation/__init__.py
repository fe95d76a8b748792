"""How good word vectors and embedding models are at words: analogies, similarity as people judge it, nearest words."""
