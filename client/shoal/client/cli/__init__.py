"""The `shoal` command. One file per group of commands; the cluster adds its commands as entry points."""

from shoal.client.cli.application import main

__all__ = ["main"]
