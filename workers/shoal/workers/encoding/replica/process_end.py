"""Ends the process of a replica or job that can no longer encode."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

LOST_EXIT_CODE = 70


def end_process(reason: str) -> NoReturn:
    """Ends this process at once, without answering any call, so that Ray starts a new one in its place."""
    sys.stderr.write(f"encoder process exits: {reason}\n")
    sys.stderr.flush()
    # Not sys.exit: a hanging thread or a lost device would keep the process alive.
    os._exit(LOST_EXIT_CODE)
