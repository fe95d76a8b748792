"""Streams: a few requests of one call are processed concurrently. No transport: requests and answers are async iterators."""
