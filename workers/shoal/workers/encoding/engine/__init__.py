"""Batching: requests in, batches through the model, vectors out."""
