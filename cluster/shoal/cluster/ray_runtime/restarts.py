"""What happens when an actor's constructor fails: Ray restarts a process that died, but not a constructor that raised."""

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
def retried_at_restart() -> Iterator[None]:
    """Wraps a constructor. A failure of the first start is raised; after a restart the process exits, and Ray tries again.

    At the first start a caller waits and gets the error. At a restart there is none, and the obstacle may go away: a
    database that restarts too, a port that is not free yet.
    """
    try:
        yield
    except Exception:
        if not ray.get_runtime_context().was_current_actor_reconstructed:
            raise
        logging.getLogger(__name__).exception("the restart failed; trying again")
        time.sleep(RESTART_PAUSE_S)
        os._exit(RESTART_EXIT_CODE)
