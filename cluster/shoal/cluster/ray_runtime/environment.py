"""The environment variables through which Ray is configured. Ray reads them when it is imported, so this module does not."""

from __future__ import annotations

import json
import os

ADDRESS_VARIABLE = "RAY_ADDRESS"


def joins_cluster() -> bool:
    """Whether the user names a Ray cluster to join. If not, Ray is started here and ends with the command."""
    return ADDRESS_VARIABLE in os.environ


def ships_own_code() -> bool:
    """Whether this process is a submitted Ray job that ships its own modules to the workers."""
    submitted = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    return "py_modules" in submitted


def set_ray_defaults(quiet: bool = False, normal_priority: bool = False) -> None:
    """Sets what the user has not set.

    With `quiet` Ray's core writes nothing to stderr. With `normal_priority` the processes of a Ray that is started here
    run at the priority of this one, and not at niceness 15.
    """
    # No usage reports, and no prompt that would slow down a worker's start.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # An actor that requests no GPU keeps the environment's own GPU settings.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # One of Ray's own threads that calls it after its shutdown would start a new Ray.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    if normal_priority:
        # A server that answers searches must not wait for every other program on the machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
    if quiet:
        # Ray warns that it keeps the definitions of its own actors in the object store.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
