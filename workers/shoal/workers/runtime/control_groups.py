"""Linux's control groups that this process is in, as far as one must know them to find the limits that were set for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CONTROL_GROUPS = Path("/proc/self/cgroup")
CONTROL_GROUP_ROOT = Path("/sys/fs/cgroup")


def group_folders(
    controller: str, groups: Path = CONTROL_GROUPS, root: Path = CONTROL_GROUP_ROOT
) -> Iterator[tuple[bool, Path]]:
    """The folder of each group that this process is in, and of those around it, that may limit what `controller` controls.

    With each, whether it is of version 2, whose one hierarchy is for all controllers.
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in lines:
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        place = top / path.lstrip("/")
        # In a container the path may be that of the machine outside: then the group is found at the top.
        for folder in (place, *place.parents):
            if folder.is_relative_to(top):
                yield not controllers, folder
