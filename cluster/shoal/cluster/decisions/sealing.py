"""When the files of a shard are merged into a new sealed index. Pure: events and times in, actions out."""

from dataclasses import dataclass, replace

MIN_ROWS_FOR_DEAD_SHARE = 256
"""Below this many sealed rows, dead ones cost too little to seal for."""
SEAL_PAUSE_S = 10.0
"""From the start of one merge of a shard to the start of the next, so that a merge that fails is not retried at once."""


@dataclass(frozen=True, slots=True)
class SealingStats:
    """What a shard's replica reports after a sync."""

    live: int = 0
    sealed_rows: int = 0
    sealed_dead: int = 0
    delta_rows: int = 0
    segments: int = 0


@dataclass(frozen=True, slots=True)
class SealPolicy:
    """The bounds beyond which a shard is sealed."""

    delta_rows: int
    segments: int
    dead_share: float


@dataclass(frozen=True, slots=True)
class Sealing:
    """The sealing state of one shard."""

    stats: SealingStats | None = None
    """The latest; None when they are out of date."""
    merging: bool = False
    not_before_s: float = 0.0
    """The next merge does not start before this."""
    reminder_s: float | None = None
    """When the requested reminder comes."""


@dataclass(frozen=True, slots=True)
class Synced:
    """A replica has been brought to the manifest."""

    stats: SealingStats


@dataclass(frozen=True, slots=True)
class SealCommitted:
    """The ledger names the new sealed index; the stats are out of date until the next sync."""


@dataclass(frozen=True, slots=True)
class MergeEnded:
    """The merge is over, whether it was committed or failed."""


@dataclass(frozen=True, slots=True)
class Reminded:
    """The time of a reminder has come."""


SealEvent = Synced | SealCommitted | MergeEnded | Reminded


@dataclass(frozen=True, slots=True)
class StartMerge:
    """Merge the shard's files now. Answered by MergeEnded, after SealCommitted if it succeeds."""


@dataclass(frozen=True, slots=True)
class RemindAt:
    """Send Reminded at this time."""

    at_s: float


SealAction = StartMerge | RemindAt


def should_seal(stats: SealingStats, policy: SealPolicy) -> bool:
    """True when scanning the delta, opening the files or skipping dead rows costs more than building a sealed index."""
    if stats.delta_rows > policy.delta_rows or stats.segments > policy.segments:
        return True
    if stats.sealed_rows < MIN_ROWS_FOR_DEAD_SHARE:
        return False
    return stats.sealed_dead > policy.dead_share * stats.sealed_rows


def advance_sealing(
    sealing: Sealing, event: SealEvent, now_s: float, policy: SealPolicy
) -> tuple[Sealing, SealAction | None]:
    """The state after an event, and what to do. `now_s` never falls.

    Every event may start a merge, the end of the previous one too: rows written meanwhile may already need the next.
    """
    match event:
        case Synced(stats):
            sealing = replace(sealing, stats=stats)
        case SealCommitted():
            sealing = replace(sealing, stats=None)
        case MergeEnded():
            sealing = replace(sealing, merging=False)
        case Reminded():
            sealing = replace(sealing, reminder_s=None)
    if sealing.merging or sealing.stats is None or not should_seal(sealing.stats, policy):
        return sealing, None
    if now_s >= sealing.not_before_s:
        return replace(sealing, merging=True, not_before_s=now_s + SEAL_PAUSE_S), StartMerge()
    if sealing.reminder_s is None:
        return replace(sealing, reminder_s=sealing.not_before_s), RemindAt(sealing.not_before_s)
    return sealing, None
