"""Joins a Ray cluster, or runs Ray on this machine. The only place that calls `ray.init`."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import ray

import shoal
from shoal.cluster.ray_runtime.environment import joins_cluster, ships_own_code
from shoal.workers.runtime import available_cores, first_error_line


class RayUnavailable(Exception):
    """Ray cannot be started or joined; the message is one line."""


def connect_ray(cores: int, namespace: str | None = None) -> None:
    """Joins the Ray cluster at RAY_ADDRESS, or starts Ray here, with at least `cores` CPUs.

    A Ray started here ends with this process. Raises RayUnavailable.
    """
    shared: dict[str, Any] = {"namespace": namespace, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _stderr_closed():
            if joins_cluster():
                ray.init(runtime_env=_shipped_code(), **shared)
            else:
                _start(num_cpus=max(available_cores(), cores), include_dashboard=False, **shared)
    except Exception as error:  # Ray has no exception class of its own for a start that fails.
        raise RayUnavailable(f"Ray cannot be started or joined: {first_error_line(error)}") from error


@contextlib.contextmanager
def joined_ray(cores: int) -> Iterator[None]:
    """Connects to Ray as `connect_ray` does, for as long as the block runs.

    A connection that this process has already is used as it is, and left open. Raises RayUnavailable.
    """
    if ray.is_initialized():
        yield
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    connect_ray(cores)
    _silence_worker_deaths()
    # Ray's own handler would end the process without a message; `ray job stop` sends this signal.
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()


def _shipped_code() -> dict[str, Any]:
    """Ships this code to workers on other machines, unless the submitted job ships its own."""
    return {} if ships_own_code() else {"py_modules": list(shoal.__path__)}


def _start(**options: Any) -> None:
    """Starts Ray here, and once more if its main process did not come up.

    In a process that uses gRPC in other threads, gRPC's fork handlers now and then abort the process that Ray forks.
    """
    with _without_unused_processes():
        try:
            ray.init(address="local", **options)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.init(address="local", **options)


@contextlib.contextmanager
def _without_unused_processes() -> Iterator[None]:
    """Keeps Ray from starting processes that a Ray on one machine without its dashboard does not use.

    The dashboard's server, the autoscaler and the log monitor take 1.6 s of CPU time, and `ray.init` waits for the first.
    Ray has no setting for this. The methods are private, so a version of Ray without them starts the processes.
    """
    try:
        from ray._private import node
    except ImportError:
        yield
        return
    names = [name for name in ("start_api_server", "start_monitor", "start_log_monitor") if hasattr(node.Node, name)]
    starts = {name: getattr(node.Node, name) for name in names}
    for name in names:
        setattr(node.Node, name, lambda *_args, **_options: None)
    try:
        yield
    finally:
        for name, start in starts.items():
            setattr(node.Node, name, start)


def _silence_worker_deaths() -> None:
    """Stops Ray from printing to stdout that a process died: callers report what that means for them.

    Ray has no setting for this. The attribute is private, so a version of Ray without it prints the message.
    """
    try:
        from ray._private import worker
    except ImportError:
        return
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = False


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Hides the notice about logging that Ray's core writes to stderr. Errors are raised, so none is hidden."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
