"""Models without a network: hashing, and tables of vectors."""
