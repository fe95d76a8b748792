"""When a shard is sealed: never twice at once, not too often, and until nothing is left to seal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.sealing import (
    MIN_ROWS_FOR_DEAD_SHARE,
    SEAL_PAUSE_S,
    MergeEnded,
    RemindAt,
    Reminded,
    SealCommitted,
    SealEvent,
    Sealing,
    SealingStats,
    SealPolicy,
    StartMerge,
    Synced,
    advance_sealing,
    should_seal,
)
from support.scenarios import Command

POLICY = SealPolicy(delta_rows=100, segments=10, dead_share=0.2)


@pytest.mark.parametrize(
    ("stats", "wanted"),
    [
        (SealingStats(), False),
        (SealingStats(delta_rows=100, segments=10), False),
        (SealingStats(delta_rows=101), True),
        (SealingStats(segments=11), True),
        (SealingStats(sealed_rows=1000, sealed_dead=200), False),
        (SealingStats(sealed_rows=1000, sealed_dead=201), True),
        (SealingStats(sealed_rows=MIN_ROWS_FOR_DEAD_SHARE - 1, sealed_dead=MIN_ROWS_FOR_DEAD_SHARE - 1), False),
        (SealingStats(sealed_rows=MIN_ROWS_FOR_DEAD_SHARE, sealed_dead=MIN_ROWS_FOR_DEAD_SHARE), True),
    ],
)
def test_when_a_shard_is_sealed(stats: SealingStats, wanted: bool) -> None:
    assert should_seal(stats, POLICY) is wanted


def test_a_shard_is_empty_unless_its_stats_say_otherwise() -> None:
    assert SealingStats() == SealingStats(0, 0, 0, 0)


@dataclass
class Shard:
    """A shard, reduced to the size of its delta, and the merge in progress."""

    sealing: Sealing = field(default_factory=Sealing)
    now_s: float = 0.0
    delta: int = 0
    merging: int | None = None
    """The rows that the merge has taken."""
    reminder_s: float | None = None
    merges: list[float] = field(default_factory=list)
    """When each merge was started."""

    def tell(self, event: SealEvent) -> None:
        self.sealing, action = advance_sealing(self.sealing, event, self.now_s, POLICY)
        if isinstance(action, StartMerge):
            assert self.merging is None, "two merges at once"
            self.merging = self.delta
            self.merges.append(self.now_s)
        elif isinstance(action, RemindAt):
            assert self.reminder_s is None and action.at_s > self.now_s
            self.reminder_s = action.at_s

    def sync(self) -> None:
        self.tell(Synced(SealingStats(delta_rows=self.delta)))

    def write(self, rows: int) -> None:
        self.delta += rows
        self.sync()

    def end_merge(self, fails: bool = False, shown: bool = True) -> None:
        if self.merging is None:
            return
        taken, self.merging = self.merging, None
        if not fails:
            self.delta -= taken
            self.tell(SealCommitted())
            if shown:
                self.sync()
        self.tell(MergeEnded())

    def wait(self, seconds: float) -> None:
        """Lets time pass, with the reminder that comes in it."""
        end_s = self.now_s + seconds
        if self.reminder_s is not None and self.reminder_s <= end_s:
            self.now_s, self.reminder_s = max(self.now_s, self.reminder_s), None
            self.tell(Reminded())
        self.now_s = end_s


steps = st.lists(
    st.one_of(
        st.integers(0, 400).map(lambda rows: lambda shard: shard.write(rows)),
        st.tuples(st.booleans(), st.booleans()).map(lambda how: lambda shard: shard.end_merge(*how)),
        st.floats(0, 12).map(lambda seconds: lambda shard: shard.wait(seconds)),
        st.just(lambda shard: shard.sync()),
    ),
    max_size=40,
)


@settings(max_examples=1000, deadline=None)
@given(steps)
def test_any_history_ends_with_nothing_to_seal(history: list[Callable[[Shard], None]]) -> None:
    shard = Shard()
    for step in history:
        step(shard)
        due = shard.sealing.stats is not None and should_seal(shard.sealing.stats, POLICY)
        # Whatever is due is being done, or something is sure to start it.
        assert not due or shard.merging is not None or shard.reminder_s is not None
    assert all(later - earlier > SEAL_PAUSE_S - 1e-6 for earlier, later in zip(shard.merges, shard.merges[1:], strict=False))
    # No more writes, and merges succeed from now on.
    shard.end_merge(False, True)
    shard.sync()
    for _ in range(2):
        shard.wait(SEAL_PAUSE_S)
        shard.end_merge(False, True)
    assert not should_seal(SealingStats(delta_rows=shard.delta), POLICY)


def test_rows_that_come_during_a_merge_are_sealed_without_another_write() -> None:
    shard = Shard()
    shard.write(3584)
    shard.write(4416)
    shard.end_merge()
    assert shard.merging is None and shard.delta == 4416
    shard.wait(SEAL_PAUSE_S)
    shard.end_merge()
    assert shard.delta == 0 and shard.merges == [0.0, SEAL_PAUSE_S]


def test_scenarios(run_scenario: Callable[[Path, Callable[[Command], str]], None]) -> None:
    shard = {"sealing": Sealing()}

    def answer(command: Command) -> str:
        events: dict[str, Callable[[], SealEvent]] = {
            "synced": lambda: Synced(
                SealingStats(
                    delta_rows=command.integer("delta", 0),
                    segments=command.integer("segments", 0),
                    sealed_rows=command.integer("sealed", 0),
                    sealed_dead=command.integer("dead", 0),
                )
            ),
            "committed": SealCommitted,
            "merge-ended": MergeEnded,
            "reminded": Reminded,
        }
        if command.name == "new":
            shard["sealing"] = Sealing()
            return ""
        shard["sealing"], action = advance_sealing(
            shard["sealing"], events[command.name](), command.number("at", 0.0), POLICY
        )
        match action:
            case StartMerge():
                return "start merge"
            case RemindAt(at_s):
                return f"remind at {at_s:g} s"
            case None:
                return "nothing"

    run_scenario(Path(__file__).parent / "scenarios" / "sealing.txt", answer)
