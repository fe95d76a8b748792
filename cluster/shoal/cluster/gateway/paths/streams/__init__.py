"""Streams: a few requests of one call are worked on at once. No transport: requests and answers are async iterators."""
