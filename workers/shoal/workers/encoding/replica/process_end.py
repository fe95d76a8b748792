"""How a process ends that can encode no more, of a replica or of a job. When it cannot is decided elsewhere."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

LOST_EXIT_CODE = 70


def end_process(reason: str) -> NoReturn:
    """Ends this process at once, without answering anything, so that Ray puts a new one in its place."""
    sys.stderr.write(f"encoder ends: {reason}\n")
    sys.stderr.flush()
    # Not sys.exit: a thread that never comes back, or a device that is gone, would keep the process.
    os._exit(LOST_EXIT_CODE)
