"""Which learner trains which text next, and at which learning rate. Pure: it is told what happened and says what comes
next.

The corpus is cut into spans, and each epoch queues all of them in an order of its own. In a round every learner takes a
lease: spans from the front of the queue. A span counts once all rows of the learner that trained it are merged; a
learner that is lost before gives its spans back to the front of the queue. So each counts exactly once in each epoch,
whoever dies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from shoal.workers.training.word2vec.settings import Word2VecSettings

ROUND_WORDS, MANY_ROUND_WORDS, MANY = 2_000_000, 250_000, 8
"""Unless told otherwise a lease has the first number of words with up to 4 learners, the second with 8, and between and
beyond what follows the cube of their number: the more they are, the sooner they go astray together (docs/quality.md)."""
ALONE_ROUND_WORDS = 500_000
"""For one learner a round is only how often it tells how far it is, and can be stopped."""
LEAST_WORDS = 10_000_000
"""Words of all epochs that several learners should have for each of them: with fewer, all that they train is early, and
vectors get worse (docs/quality.md)."""
EARLY_SHARE = 0.4
"""Several learners train at most this share, by their number, of all that was trained before, or a span each, in a
round."""


def worthwhile_learners(total_words: int) -> int:
    """How many learners keep the quality of one, when so many words are trained in all epochs together."""
    return max(1, total_words // LEAST_WORDS)


class EpochSpan(NamedTuple):
    """A span of the corpus in one of the epochs."""

    epoch: int
    span: int


@dataclass(frozen=True, slots=True)
class SpanLease:
    """What one learner is to train in one round."""

    spans: tuple[int, ...]
    words: int
    first_rate: float
    """The learning rate goes linearly from this, at the first word, to `last_rate`."""
    last_rate: float
    seed: int

    @property
    def lr_words(self) -> float:
        """Words times learning rate: how far it may bring the vectors."""
        return self.words * (self.first_rate + self.last_rate) / 2


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """Where a training stands."""

    rounds: int = 0
    """Rounds that were begun."""
    epochs: int = 0
    """Epochs whose spans are queued or further."""
    done: int = 0
    """Words of the pieces that count."""
    queue: tuple[EpochSpan, ...] = ()
    held: Mapping[int, tuple[EpochSpan, ...]] = field(default_factory=dict)
    """By learner, what it has trained, or is training, that does not count yet."""

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint, which is only taken where nothing is held."""
        if self.held:
            raise ValueError("a state in the middle of a round is not kept")
        return {
            "rounds": self.rounds,
            "epochs": self.epochs,
            "done": self.done,
            "queue": [list(piece) for piece in self.queue],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ScheduleState:
        """Raises KeyError, TypeError or ValueError when it is no state."""
        queue = tuple(EpochSpan(int(epoch), int(span)) for epoch, span in values["queue"])
        return ScheduleState(int(values["rounds"]), int(values["epochs"]), int(values["done"]), queue)


class Schedule:
    """The rules, for one corpus and one set of settings. Methods give a new state and leave the one they are given."""

    def __init__(self, settings: Word2VecSettings, span_words: Sequence[int], round_words: int) -> None:
        """`span_words` are the words of each span, all more than 0; `round_words` is about what a lease has, 0 leaves it
        to the rules."""
        self._settings = settings
        self._span_words = tuple(span_words)
        self._round_words = round_words
        self._largest = max(span_words)
        self._epoch_words = sum(span_words)
        self.total_words = self._epoch_words * settings.epochs

    def lease(self, state: ScheduleState, learners: Sequence[int]) -> tuple[ScheduleState, dict[int, SpanLease]]:
        """Begins a round: what each of `learners` is to train. Near the end some may get nothing."""
        goal = self._goal(state, len(learners))
        state = self._filled(state, goal * len(learners))
        queued = self._queued_words(state)
        last = state.epochs == self._settings.epochs and queued <= goal * len(learners)
        # The last round of all is dealt out evenly.
        share = queued / len(learners) if last else goal
        taken: dict[int, list[EpochSpan]] = {}
        begin = 0
        for piece in state.queue:
            words = self._span_words[piece.span]
            place = int((begin + words / 2) / share)
            if place >= len(learners):
                break
            taken.setdefault(learners[place], []).append(piece)
            begin += words
        trained = self.trained(state)
        first, final = (self._settings.rate(words / self.total_words) for words in (trained, trained + begin))
        count = sum(map(len, taken.values()))
        held = dict(state.held)
        for learner, pieces in taken.items():
            held[learner] = held.get(learner, ()) + tuple(pieces)
        leases = {
            learner: SpanLease(
                spans=tuple(piece.span for piece in pieces),
                words=self._words(pieces),
                first_rate=first,
                last_rate=final,
                seed=_seed(self._settings.seed, pieces[0]),
            )
            for learner, pieces in taken.items()
        }
        return replace(state, rounds=state.rounds + 1, queue=state.queue[count:], held=held), leases

    def lost(self, state: ScheduleState, learners: Iterable[int]) -> ScheduleState:
        """These learners are gone, and with them what they held: it is trained again, before anything else."""
        held = dict(state.held)
        back = tuple(piece for learner in sorted(learners) for piece in held.pop(learner, ()))
        return replace(state, queue=back + state.queue, held=held)

    def merged(self, state: ScheduleState, learners: Collection[int]) -> ScheduleState:
        """All rows of these learners are merged, and what they hold counts; what others hold is lost."""
        state = self.lost(state, [learner for learner in state.held if learner not in learners])
        return replace(state, done=self.trained(state), held={})

    def trained(self, state: ScheduleState) -> int:
        """Words that count, and those that will when all goes well."""
        return state.done + sum(map(self._words, state.held.values()))

    def all_leased(self, state: ScheduleState) -> bool:
        """Nothing is left to be handed out, unless a learner is lost."""
        return state.epochs == self._settings.epochs and not state.queue

    def finished(self, state: ScheduleState) -> bool:
        """Every span counts in every epoch."""
        return self.all_leased(state) and not state.held

    def _goal(self, state: ScheduleState, learners: int) -> int:
        """About how many words each of so many learners is to train."""
        words = self._round_words or min(ROUND_WORDS, MANY_ROUND_WORDS * MANY**3 // learners**3)
        if learners == 1:
            words = self._round_words or ALONE_ROUND_WORDS
        else:
            # At first all vectors have far to go in the same direction, in which learners together would overshoot.
            words = min(words, int(EARLY_SHARE * self.trained(state)) // learners**2)
        # Never more than an epoch in a round: the learners would train the same text side by side.
        return max(self._largest, min(words, -(-self._epoch_words // learners)))

    def _filled(self, state: ScheduleState, words: int) -> ScheduleState:
        """With the next epochs queued until there are `words`: a round goes on where an epoch ends, nobody waits
        there."""
        while state.epochs < self._settings.epochs and self._queued_words(state) < words:
            order = np.random.default_rng((self._settings.seed, state.epochs)).permutation(len(self._span_words))
            epoch = tuple(EpochSpan(state.epochs, int(span)) for span in order)
            state = replace(state, epochs=state.epochs + 1, queue=state.queue + epoch)
        return state

    def _queued_words(self, state: ScheduleState) -> int:
        return state.epochs * self._epoch_words - self.trained(state)

    def _words(self, pieces: Iterable[EpochSpan]) -> int:
        return sum(self._span_words[piece.span] for piece in pieces)


def _seed(seed: int, first: EpochSpan) -> int:
    """Depends on the text and the epoch alone, not on who trains it or when: so a training that goes on after a break
    draws the same random numbers as one without."""
    return int(np.random.SeedSequence((seed, *first)).generate_state(1, np.uint64)[0] >> np.uint64(1))
