"""What keeps the cluster from working as it should, from what was seen of its ledger, its storage and their disks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEDGER, STORAGE, COORDINATOR = "ledger", "storage", "coordinator"
LEAST_FREE_BYTES = 16 * 1024 * 1024
"""A disk with less free space counts as full: one transaction or one segment may need that much."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    part: str
    """LEDGER, STORAGE or COORDINATOR; each has at most one problem, the one that explains the others."""
    message: str
    since_ms: int
    """When the part was first seen with a problem."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder on a local disk, and the disk."""

    folder: str
    exists: bool = True
    read_only: bool = False
    free_bytes: int = LEAST_FREE_BYTES


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen at one moment. Each text says why something failed, and is empty if it did not."""

    ledger_check: str = ""
    ledger_write: str = ""
    """Of the newest write."""
    ledger_volume: Volume | None = None
    """None for a database server."""
    storage_write: str = ""
    """Of the newest segment."""
    storage_volume: Volume | None = None
    """None for an object store."""


def find_problems(seen: Observation, before: Sequence[Problem], now_ms: int) -> tuple[Problem, ...]:
    """The problems after an observation; one that was there `before` keeps its time."""
    reasons = {
        # A ledger whose files are gone is no matter of its disk; otherwise the disk explains why a write failed.
        LEDGER: seen.ledger_check or _volume_problem(seen.ledger_volume) or seen.ledger_write,
        STORAGE: _volume_problem(seen.storage_volume) or seen.storage_write,
    }
    since = {problem.part: problem.since_ms for problem in before}
    return tuple(Problem(part, reason, since.get(part, now_ms)) for part, reason in reasons.items() if reason)


def _volume_problem(volume: Volume | None) -> str:
    if volume is None:
        return ""
    if not volume.exists:
        return f"folder {volume.folder} does not exist"
    if volume.read_only:
        return f"the file system of {volume.folder} is read-only"
    if volume.free_bytes < LEAST_FREE_BYTES:
        return f"the disk of {volume.folder} is full: less than {LEAST_FREE_BYTES // 1024**2} MiB are free"
    return ""
