"""Ending Ray's named actors of this process's namespace, and being sure that they are gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

LOOK_S = 0.02
AGAIN_S = 1.0
"""Ray is told again to end actors that are there after so long."""


class StillThere(Exception):
    """Actors that Ray was told to end and that are there after the time that was given; the message is their names."""


def end_actors(chosen: Callable[[str], bool], within_s: float) -> bool:
    """Ends for good the actors whose names are `chosen`, and says whether there were any.

    Returns when Ray knows the names no more: ray.kill only sends word, which may arrive after what is asked next, and a new
    actor of that name would be the old one. Raises StillThere, RayError.
    """
    deadline = time.monotonic() + within_s
    told_at = float("-inf")
    found = False
    while left := [name for name in map(str, list_named_actors()) if chosen(name)]:
        found = True
        now = time.monotonic()
        if now > deadline:
            raise StillThere(", ".join(left))
        if now - told_at >= AGAIN_S:
            for name in left:
                with contextlib.suppress(ValueError, RayError):
                    ray.kill(ray.get_actor(name), no_restart=True)
            told_at = now
        time.sleep(LOOK_S)
    return found
