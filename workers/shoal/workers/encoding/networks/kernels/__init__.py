"""Compiled CPU kernels of the networks."""
