"""Calls between processes: channels, deadlines, request batching, routing."""
