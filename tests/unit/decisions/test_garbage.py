"""When unnamed files are deleted: all of them in the end, none that may still be read or is about to be named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.garbage import (
    FilesUnnamed,
    Garbage,
    GarbageEvent,
    GenerationDropped,
    RemindSweepAt,
    Sweep,
    SweepEnded,
    SweepReminded,
    advance_garbage,
)
from support.scenarios import Command

GRACE_S = 30.0
GENERATIONS = (1, 2, 3)


@dataclass(eq=False)
class File:
    """A file of a generation."""

    generation: int
    changed_s: float
    named: bool = False
    replaced: bool = False


@dataclass
class Store:
    """Files of some generations, and the sweep that is in progress."""

    garbage: Garbage = field(default_factory=Garbage)
    now_s: float = 1000.0
    files: list[File] = field(default_factory=list)
    live: set[int] = field(default_factory=lambda: set(GENERATIONS))
    sweep: Sweep | None = None
    victims: list[File] = field(default_factory=list)
    reminder_s: float | None = None
    events: list[tuple[float, GarbageEvent]] = field(default_factory=list)
    sweeps: list[tuple[float, Sweep]] = field(default_factory=list)

    def tell(self, event: GarbageEvent) -> None:
        self.events.append((self.now_s, event))
        self.garbage, action = advance_garbage(self.garbage, event, self.now_s, GRACE_S)
        match action:
            case Sweep():
                assert self.sweep is None, "two sweeps at once"
                if action.generation in self.live:
                    assert action.min_age_s == GRACE_S
                    asked_s = [at_s for at_s, event in self.events if event == FilesUnnamed(action.generation, live=True)]
                    assert min(asked_s) + GRACE_S <= self.now_s
                self.sweep = action
                self.sweeps.append((self.now_s, action))
                self.victims = [file for file in self.files if self.takes(action, file)]
            case RemindSweepAt(at_s):
                assert at_s > self.now_s and (self.reminder_s is None or at_s < self.reminder_s)
                self.reminder_s = at_s
            case None:
                pass
        # Whatever is due is being done, or something is sure to start it in time.
        assert (
            not self.garbage.due
            or self.sweep is not None
            or (self.reminder_s is not None and self.reminder_s <= self.garbage.due[0][0])
        )

    def swept(self, generation: int, from_s: float) -> bool:
        """Whether a sweep of a generation started at that time or later."""
        return any(sweep.generation == generation and at_s >= from_s for at_s, sweep in self.sweeps)

    def takes(self, sweep: Sweep, file: File) -> bool:
        """Whether a sweep that starts now deletes a file."""
        return file.generation == sweep.generation and not file.named and self.now_s - file.changed_s >= sweep.min_age_s

    def write(self, generation: int, named: bool) -> None:
        """A segment is committed, or a worker crashed before that and no event tells of the file."""
        if generation in self.live:
            self.files.append(File(generation, self.now_s, named))

    def replace(self, generation: int) -> None:
        """A shard is sealed, or a merge ends after the drop."""
        for file in self.files:
            if file.generation == generation and file.named:
                file.named, file.replaced = False, True
        self.tell(FilesUnnamed(generation, generation in self.live))

    def drop(self, generation: int) -> None:
        if generation in self.live:
            self.live.remove(generation)
            for file in self.files:
                if file.generation == generation:
                    file.named = False
            self.tell(GenerationDropped(generation))
            # A worker is still writing this one.
            self.files.append(File(generation, self.now_s + GRACE_S))

    def end_sweep(self) -> None:
        if self.sweep is None:
            return
        for file in self.victims:
            assert not file.named
            assert file.generation not in self.live or self.now_s - file.changed_s >= GRACE_S
            self.files.remove(file)
        self.sweep, self.victims = None, []
        self.tell(SweepEnded())

    def wait(self, seconds: float) -> None:
        """Lets time pass, with the reminders that come in it."""
        end_s = self.now_s + seconds
        while self.reminder_s is not None and self.reminder_s <= end_s:
            self.now_s, self.reminder_s = self.reminder_s, None
            self.tell(SweepReminded())
        self.now_s = end_s

    def rest(self) -> None:
        """Lets everything that is due happen, with sweeps that succeed at once."""
        self.end_sweep()
        while self.garbage.due:
            while self.sweep is not None:
                self.end_sweep()
            if self.reminder_s is not None:
                self.wait(self.reminder_s - self.now_s)
        self.end_sweep()


some = st.sampled_from(GENERATIONS)
steps = st.lists(
    st.one_of(
        st.tuples(some, st.booleans()).map(lambda what: lambda store: store.write(*what)),
        some.map(lambda generation: lambda store: store.replace(generation)),
        some.map(lambda generation: lambda store: store.drop(generation)),
        st.just(lambda store: store.end_sweep()),
        st.integers(0, 40).map(lambda seconds: lambda store: store.wait(seconds)),
    ),
    max_size=40,
)


@settings(max_examples=2000, deadline=None)
@given(steps)
def test_any_history_ends_without_garbage(history: list[Callable[[Store], None]]) -> None:
    store = Store()
    for step in history:
        step(store)
    store.rest()
    # Files left by a crash, without an event, are found by the next coordinator.
    assert all(file.generation in store.live and (file.named or not file.replaced) for file in store.files)
    for since_s, event in store.events:
        match event:
            case FilesUnnamed(generation, live=True):
                assert store.swept(generation, since_s + GRACE_S)
            case FilesUnnamed(generation, live=False):
                assert store.swept(generation, since_s)
            case GenerationDropped(generation):
                assert store.swept(generation, since_s) and store.swept(generation, since_s + GRACE_S)


def test_a_sweep_in_progress_holds_up_the_next_without_a_reminder() -> None:
    garbage, action = advance_garbage(Garbage(), GenerationDropped(1), 0.0, GRACE_S)
    assert action == Sweep(1, 0.0)
    garbage, action = advance_garbage(garbage, GenerationDropped(2), 5.0, GRACE_S)
    assert action is None
    garbage, action = advance_garbage(garbage, SweepEnded(), 40.0, GRACE_S)
    assert action == Sweep(2, 0.0)
    garbage, action = advance_garbage(garbage, SweepEnded(), 41.0, GRACE_S)
    # Generation 2 was due twice by then, which one sweep covers.
    assert action == Sweep(1, 0.0)
    assert advance_garbage(garbage, SweepEnded(), 43.0, GRACE_S) == (Garbage(), None)


def test_scenarios(run_scenario: Callable[[Path, Callable[[Command], str]], None]) -> None:
    world = {"garbage": Garbage()}

    def answer(command: Command) -> str:
        generation = command.integer("generation", 0)
        events: dict[str, Callable[[], GarbageEvent]] = {
            "replaced": lambda: FilesUnnamed(generation, live=True),
            "left-by-dropped": lambda: FilesUnnamed(generation, live=False),
            "dropped": lambda: GenerationDropped(generation),
            "sweep-ended": SweepEnded,
            "reminded": SweepReminded,
        }
        if command.name == "new":
            world["garbage"] = Garbage()
            return ""
        world["garbage"], action = advance_garbage(world["garbage"], events[command.name](), command.number("at"), GRACE_S)
        match action:
            case Sweep(swept, 0.0):
                return f"sweep {swept}"
            case Sweep(swept, min_age_s):
                return f"sweep {swept}, files older than {min_age_s:g} s"
            case RemindSweepAt(at_s):
                return f"remind at {at_s:g} s"
            case None:
                return "nothing"

    run_scenario(Path(__file__).parent / "scenarios" / "garbage.txt", answer)
