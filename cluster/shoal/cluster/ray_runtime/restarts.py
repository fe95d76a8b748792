"""What an actor does when its constructor fails: Ray restarts a process that died, but no actor whose constructor raised."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray

RESTART_PAUSE_S = 1.0
RESTART_EXIT_CODE = 4


@contextmanager
def tried_until_it_starts() -> Iterator[None]:
    """Around a constructor: what fails at the first start is raised; at a restart the process ends, and Ray tries again.

    At the first start somebody waits and is told. At a restart nobody does, and what is in the way may pass: a database
    that is restarted too, a port that is not free yet.
    """
    try:
        yield
    except Exception:
        if not ray.get_runtime_context().was_current_actor_reconstructed:
            raise
        logging.getLogger(__name__).exception("the restart failed; it is tried again")
        time.sleep(RESTART_PAUSE_S)
        os._exit(RESTART_EXIT_CODE)
