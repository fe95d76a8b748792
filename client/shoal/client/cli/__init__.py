"""The `shoal` command. One file per group of commands; other distributions add theirs as entry points."""

from shoal.client.cli.application import main

__all__ = ["main"]
