"""Encoder replicas: models that turn texts into vectors, and the batching in front of them."""
