"""`shoal encode`: bulk encoding on Ray Data."""
