"""Joining a Ray cluster, or running one, for as long as a command works. What is run there is others'."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import ray
from ray._private import worker as ray_worker

import shoal
from shoal.workers.runtime.cores import available_cores


class RayUnavailable(Exception):
    """Ray cannot be started or joined; the message is one line."""


@contextlib.contextmanager
def joined_ray(cores: int) -> Iterator[None]:
    """Joins the Ray cluster at RAY_ADDRESS, or runs one here that ends with the block or with this process.

    One that runs here has `cores` CPUs to give, or as many as the machine has where those are more. One that this process
    has joined already is used as it is, and left running. Raises RayUnavailable.
    """
    if ray.is_initialized():
        yield
        return
    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if "RAY_ADDRESS" in os.environ:
            # Workers on other machines get this very code, unless the job's submitter has said what they get.
            submitted = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
            shipped = {} if "py_modules" in submitted else {"py_modules": list(shoal.__path__)}
            with _stderr_closed():
                ray.init(runtime_env=shipped, **shared)
        else:
            with _stderr_closed():
                _start(num_cpus=max(available_cores(), cores), include_dashboard=False, **shared)
    except Exception as error:  # Of any kind: Ray has none of its own for a start that fails.
        raise RayUnavailable(f"Ray cannot be started or joined: {str(error).splitlines()[0]}") from error
    # Ray prints on stdout that a process died, whatever it is told of logs; there is no setting for this. What it means is
    # told by those who ran something in that process.
    ray_worker._worker_logs_enabled = False
    # Ray's own handler would end the process without a word; `ray job stop` sends this signal.
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()


def _start(**options: Any) -> None:
    """Starts a Ray here, and once more where its main process did not come up: in a process that uses gRPC in other
    threads, gRPC's fork handlers now and then abort what Ray forks."""
    try:
        ray.init(address="local", **options)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        ray.init(address="local", **options)


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Ray's core tells on stderr how much it will log; what goes wrong it raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
