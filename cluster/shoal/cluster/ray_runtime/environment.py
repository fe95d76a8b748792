"""What commands set in their environment before Ray is imported, which reads it then."""

from __future__ import annotations

import os


def set_ray_defaults(quiet: bool = False) -> None:
    """Sets what the user has not set; with `quiet` Ray's core writes nothing to stderr."""
    # Nothing is reported to anybody, and a worker's start is not slowed by a prompt.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # An actor that asks for no GPU is left the environment's own.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A thread of Ray's own that asks it something once it was shut down would start a whole new one.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    if quiet:
        # Else it tells that it keeps what its own actors are made of in the object store.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
