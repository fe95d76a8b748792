"""Tokens, and when searches show the writes that they name."""
