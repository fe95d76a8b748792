"""How much memory this process may still use, within the machine and its control groups."""

from __future__ import annotations

from pathlib import Path

from shoal.workers.runtime import CONTROL_GROUP_ROOT, CONTROL_GROUPS, group_folders

_MEMORY = Path("/proc/meminfo")
_V1, _V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")
"""Names of limit and usage, for each version of control groups."""


def free_memory(memory: Path = _MEMORY, groups: Path = CONTROL_GROUPS, root: Path = CONTROL_GROUP_ROOT) -> int | None:
    """Free memory in bytes; None if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    left = [_left(folder, *(_V2 if is_v2 else _V1)) for is_v2, folder in group_folders("memory", groups, root)]
    return max(0, min([free, *(some for some in left if some is not None)]))


def _left(folder: Path, limit: str, use: str) -> int | None:
    """Bytes left within the limit of a group; None if it has no limit."""
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if most == "max" or int(most) >= 1 << 60:
        return None
    # The page cache counts as used, but is reclaimed when memory is needed.
    reclaimable = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
    return int(most) - used + reclaimable
