"""Finds the Linux control groups (cgroups) of this process, where its resource limits are set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CONTROL_GROUPS = Path("/proc/self/cgroup")
CONTROL_GROUP_ROOT = Path("/sys/fs/cgroup")


def group_folders(
    controller: str, groups: Path = CONTROL_GROUPS, root: Path = CONTROL_GROUP_ROOT
) -> Iterator[tuple[bool, Path]]:
    """The folders of this process's groups and their parents that may limit `controller` ("cpu", "memory").

    Each comes with whether it is a group of cgroup version 2, which has one hierarchy for all controllers.
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in lines:
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = top / path.lstrip("/")
        # In a container the path may be that of the host: then the group is at the top.
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                yield not controllers, folder
