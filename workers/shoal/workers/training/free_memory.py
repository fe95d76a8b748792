"""How much memory this process may still take: of the machine, and within the limits that were set for it."""

from __future__ import annotations

from pathlib import Path

_MEMORY = Path("/proc/meminfo")
_GROUPS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")
_FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
"""Limit and use, of the one hierarchy of cgroups v2 and of v1's own for memory."""


def free_memory(memory: Path = _MEMORY, groups: Path = _GROUPS, root: Path = _ROOT) -> int | None:
    """Bytes; None where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    return max(0, min([free, *_left_in_groups(groups, root)]))


def _left_in_groups(groups: Path, root: Path) -> list[int]:
    """What is left within the limit of each group that this process is in, and of those around it."""
    left = []
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return []
    for _, controllers, path in lines:
        for controller in controllers.split(","):
            if controller not in _FILES:
                continue
            top = root / controller if controller else root
            place = top / path.lstrip("/")
            # In a container the path may be that of the machine outside: then the group is found at the top.
            for folder in (place, *place.parents):
                if folder.is_relative_to(top):
                    left.extend(_left(folder, *_FILES[controller]))
    return left


def _left(folder: Path, limit: str, use: str) -> list[int]:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    if most == "max" or int(most) >= 1 << 60:
        return []
    # Files that were read lately count as used, and are given up when memory is wanted.
    reclaimable = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
    return [int(most) - used + reclaimable]
