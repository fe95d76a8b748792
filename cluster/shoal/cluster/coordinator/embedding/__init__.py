"""Embeds pending documents and applies their vectors."""
