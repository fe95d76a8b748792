"""Word2Vec: corpus, vocabulary, compiled kernels, averaging, checkpoints, and the actor that trains a part."""
