"""Compiled CPU kernels: skip-gram, CBOW, sampling."""
