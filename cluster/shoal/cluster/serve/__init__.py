"""`shoal serve`: settings, data folder, and the local cluster."""
