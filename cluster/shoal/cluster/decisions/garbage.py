"""When files that no manifest names are deleted. Pure: events and times in, actions out.

A *sweep* deletes the unnamed files of one generation. Files that were replaced are swept after a grace period, because a
worker may still be reading them. A dropped generation is swept at once, and again after the grace period: a worker may
have been writing a file when it was dropped. Sweeps run one at a time.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sweep:
    """Deletes the files of a generation that no manifest names and that were last changed over `min_age_s` ago."""

    generation: int
    min_age_s: float
    """The grace period, which protects files that are about to be named; 0 for a dropped generation."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """The sweeps of all generations."""

    due: tuple[tuple[float, Sweep], ...] = ()
    """(earliest start in seconds, sweep), by time."""
    sweeping: bool = False
    reminder_s: float | None = None
    """When the requested reminder comes."""


@dataclass(frozen=True, slots=True)
class FilesUnnamed:
    """A generation may have files that no manifest names: some were replaced, or an earlier coordinator left them."""

    generation: int
    live: bool
    """False once the generation is dropped."""


@dataclass(frozen=True, slots=True)
class GenerationDropped:
    """All files of a generation are garbage."""

    generation: int


@dataclass(frozen=True, slots=True)
class SweepEnded:
    """The sweep is over, whether it succeeded or failed."""


@dataclass(frozen=True, slots=True)
class SweepReminded:
    """The time of a reminder has come."""


GarbageEvent = FilesUnnamed | GenerationDropped | SweepEnded | SweepReminded


@dataclass(frozen=True, slots=True)
class RemindSweepAt:
    """Send SweepReminded at this time, in place of any earlier request."""

    at_s: float


GarbageAction = Sweep | RemindSweepAt
"""A Sweep starts now; it is answered by SweepEnded."""


def advance_garbage(
    garbage: Garbage, event: GarbageEvent, now_s: float, grace_s: float
) -> tuple[Garbage, GarbageAction | None]:
    """The state after an event, and what to do. `now_s` never falls."""
    match event:
        case FilesUnnamed(generation, live=True):
            garbage = _with_due(garbage, now_s + grace_s, Sweep(generation, grace_s))
        case FilesUnnamed(generation, live=False):
            garbage = _with_due(garbage, now_s, Sweep(generation, 0.0))
        case GenerationDropped(generation):
            # Whatever else was due for it is covered by these two.
            garbage = replace(garbage, due=tuple(one for one in garbage.due if one[1].generation != generation))
            garbage = _with_due(garbage, now_s, Sweep(generation, 0.0))
            garbage = _with_due(garbage, now_s + grace_s, Sweep(generation, 0.0))
        case SweepEnded():
            garbage = replace(garbage, sweeping=False)
        case SweepReminded():
            garbage = replace(garbage, reminder_s=None)
    if garbage.sweeping or not garbage.due:
        return garbage, None
    first_s, sweep = garbage.due[0]
    if first_s <= now_s:
        return _without_due(garbage, sweep.generation, now_s)
    if garbage.reminder_s is None or first_s < garbage.reminder_s:
        return replace(garbage, reminder_s=first_s), RemindSweepAt(first_s)
    return garbage, None


def _with_due(garbage: Garbage, at_s: float, sweep: Sweep) -> Garbage:
    return replace(garbage, due=tuple(sorted([*garbage.due, (at_s, sweep)], key=lambda one: one[0])))


def _without_due(garbage: Garbage, generation: int, now_s: float) -> tuple[Garbage, Sweep]:
    """Starts one sweep in place of all that are due for a generation."""
    started = [one for one in garbage.due if one[1].generation == generation and one[0] <= now_s]
    left = tuple(one for one in garbage.due if one not in started)
    sweep = Sweep(generation, min(one.min_age_s for _, one in started))
    return replace(garbage, due=left, sweeping=True), sweep
