"""Decisions about processes: whether they are up, how many there are, and why a model is not served."""
