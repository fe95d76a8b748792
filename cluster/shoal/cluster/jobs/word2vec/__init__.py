"""`shoal train word2vec`: training, on this machine or on Ray."""
