"""The number of CPU cores that this process may use, by its affinity and its quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

from shoal.workers.runtime.control_groups import CONTROL_GROUP_ROOT, CONTROL_GROUPS, group_folders


def available_cores(groups: Path = CONTROL_GROUPS, root: Path = CONTROL_GROUP_ROOT) -> int:
    """Cores by affinity and quota, at least 1.

    The machine's own number would be wrong: a container with a quota of two cores and a thread for each of 64 is throttled
    most of the time.
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # Not Linux.
        bound = os.cpu_count() or 1
    quotas = [_quota(is_v2, folder) for is_v2, folder in group_folders("cpu", groups, root)]
    # Rounded up: half a core still runs a thread.
    return max(1, min([bound, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def threads_of(wanted: int, sharers: int = 1) -> int:
    """A thread count: `wanted`, or for 0 the available cores divided among `sharers` processes, at least 1."""
    return wanted or max(1, available_cores() // sharers)


def limit_tokenizer_threads(threads: int) -> None:
    """Limits the tokenizers' own thread pool, which would take every core otherwise. Call it before a tokenizer runs."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)


def _quota(is_v2: bool, folder: Path) -> float | None:
    """The quota of a group in cores; None if there is no limit."""
    try:
        if is_v2:
            time, period = (folder / "cpu.max").read_text().split()
        else:
            time, period = ((folder / name).read_text().strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        return None if time in ("max", "-1") else int(time) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
