"""Ends Ray's named actors in this process's namespace, and makes sure that they are gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

CHECK_EVERY_S = 0.02
KILL_AGAIN_S = 1.0
"""Actors that are still running after this long are killed again."""


class StillRunning(Exception):
    """Actors that are still running after the time given to end them; the message lists their names."""


def end_actors(chosen: Callable[[str], bool], within_s: float) -> bool:
    """Ends for good the actors whose names are `chosen`, and returns whether there were any.

    Returns when Ray no longer lists the names. `ray.kill` only sends a message, which may arrive after the next request:
    a new actor of that name would then be the old one. Raises StillRunning, RayError.
    """
    deadline = time.monotonic() + within_s
    killed_at = float("-inf")
    found = False
    while left := [name for name in map(str, list_named_actors()) if chosen(name)]:
        found = True
        now = time.monotonic()
        if now > deadline:
            raise StillRunning(", ".join(left))
        if now - killed_at >= KILL_AGAIN_S:
            for name in left:
                with contextlib.suppress(ValueError, RayError):
                    ray.kill(ray.get_actor(name), no_restart=True)
            killed_at = now
        time.sleep(CHECK_EVERY_S)
    return found
