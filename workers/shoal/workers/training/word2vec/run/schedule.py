"""Decides which learner trains which text next, and at which learning rate. Pure.

The corpus is cut into spans, and each epoch queues all of them in its own random order. In a round every learner gets a
lease: spans from the front of the queue. A span counts once all rows of the learner that trained it are merged. If the
learner is lost before, its spans return to the front of the queue. So each span counts exactly once per epoch, whichever
learners die.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from shoal.workers.training.word2vec.settings import Word2VecSettings

ROUND_WORDS, MANY_ROUND_WORDS, MANY = 2_000_000, 250_000, 8
"""Default words in a lease: the first number with up to 4 learners, the second with 8, and otherwise inversely proportional
to the cube of the number of learners. The more learners, the sooner they diverge (docs/quality.md)."""
ALONE_ROUND_WORDS = 500_000
"""Words in a round of a single learner, which only sets how often it reports progress and can be stopped."""
LEAST_WORDS = 10_000_000
"""Words of all epochs that each of several learners needs: with fewer, the vectors get worse, because most of the training
is in its early phase (docs/quality.md)."""
EARLY_SHARE = 0.4
"""In a round, several learners together train at most this share of all words trained before, divided by their number, or
a span each."""


def worthwhile_learners(total_words: int) -> int:
    """The most learners that keep the quality of one, for this number of words in all epochs."""
    return max(1, total_words // LEAST_WORDS)


class EpochSpan(NamedTuple):
    """A span of the corpus in one of the epochs."""

    epoch: int
    span_index: int


@dataclass(frozen=True, slots=True)
class SpanLease:
    """What one learner trains in one round."""

    spans: tuple[int, ...]
    words: int
    first_rate: float
    """The learning rate at the first word. It goes linearly to `last_rate`."""
    last_rate: float
    seed: int

    @property
    def lr_words(self) -> float:
        """Words times learning rate: measures how far the lease may move the vectors."""
        return self.words * (self.first_rate + self.last_rate) / 2


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The state of a training."""

    rounds: int = 0
    """Rounds started."""
    epochs: int = 0
    """Epochs whose spans were queued."""
    done: int = 0
    """Words of the spans that count."""
    queue: tuple[EpochSpan, ...] = ()
    held: Mapping[int, tuple[EpochSpan, ...]] = field(default_factory=dict)
    """By learner, the spans that it trains or has trained, and that do not count yet."""

    def to_json(self) -> dict[str, Any]:
        """The state for a checkpoint. Raises ValueError while learners hold spans."""
        if self.held:
            raise ValueError("a state in the middle of a round cannot be saved")
        return {
            "rounds": self.rounds,
            "epochs": self.epochs,
            "done": self.done,
            "queue": [list(span) for span in self.queue],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ScheduleState:
        """Reads what `to_json` returned. Raises KeyError, TypeError or ValueError when it is not a state."""
        queue = tuple(EpochSpan(int(epoch), int(span)) for epoch, span in values["queue"])
        return ScheduleState(int(values["rounds"]), int(values["epochs"]), int(values["done"]), queue)


class Schedule:
    """The schedule for one corpus and one set of settings. Methods return a new state and do not change the given one."""

    def __init__(self, settings: Word2VecSettings, span_words: Sequence[int], round_words: int) -> None:
        """`span_words` are the words of each span, all above 0. `round_words` is the approximate number of words in a
        lease; 0 lets the schedule choose."""
        self._settings = settings
        self._span_words = tuple(span_words)
        self._round_words = round_words
        self._largest = max(span_words)
        self._epoch_words = sum(span_words)
        self.total_words = self._epoch_words * settings.epochs

    def lease(self, state: ScheduleState, learners: Sequence[int]) -> tuple[ScheduleState, dict[int, SpanLease]]:
        """Starts a round: assigns spans to each of `learners`. Near the end some may get none."""
        target = self._lease_words(state, len(learners))
        state = self._with_queued(state, target * len(learners))
        queued = self._queued_words(state)
        last = state.epochs == self._settings.epochs and queued <= target * len(learners)
        # In the very last round the spans are divided evenly.
        share = queued / len(learners) if last else target
        taken: dict[int, list[EpochSpan]] = {}
        begin = 0
        for span in state.queue:
            words = self._span_words[span.span_index]
            index = int((begin + words / 2) / share)
            if index >= len(learners):
                break
            taken.setdefault(learners[index], []).append(span)
            begin += words
        trained = self.trained(state)
        first, final = (self._settings.rate(words / self.total_words) for words in (trained, trained + begin))
        count = sum(map(len, taken.values()))
        held = dict(state.held)
        for learner, spans in taken.items():
            held[learner] = held.get(learner, ()) + tuple(spans)
        leases = {
            learner: SpanLease(
                spans=tuple(span.span_index for span in spans),
                words=self._words(spans),
                first_rate=first,
                last_rate=final,
                seed=_seed(self._settings.seed, spans[0]),
            )
            for learner, spans in taken.items()
        }
        return replace(state, rounds=state.rounds + 1, queue=state.queue[count:], held=held), leases

    def lost(self, state: ScheduleState, learners: Iterable[int]) -> ScheduleState:
        """Handles the loss of learners: the spans that they held are trained again, before anything else."""
        held = dict(state.held)
        back = tuple(span for learner in sorted(learners) for span in held.pop(learner, ()))
        return replace(state, queue=back + state.queue, held=held)

    def merged(self, state: ScheduleState, learners: Collection[int]) -> ScheduleState:
        """Handles a merge of all rows of these learners: the spans that they hold count. Those of other learners are
        lost."""
        state = self.lost(state, [learner for learner in state.held if learner not in learners])
        return replace(state, done=self.trained(state), held={})

    def trained(self, state: ScheduleState) -> int:
        """Words that count, plus those that learners hold."""
        return state.done + sum(map(self._words, state.held.values()))

    def all_leased(self, state: ScheduleState) -> bool:
        """Whether no spans are left to assign, unless a learner is lost."""
        return state.epochs == self._settings.epochs and not state.queue

    def finished(self, state: ScheduleState) -> bool:
        """Whether every span counts in every epoch."""
        return self.all_leased(state) and not state.held

    def _lease_words(self, state: ScheduleState, learners: int) -> int:
        """The approximate number of words in a lease, for this number of learners."""
        words = self._round_words or min(ROUND_WORDS, MANY_ROUND_WORDS * MANY**3 // learners**3)
        if learners == 1:
            words = self._round_words or ALONE_ROUND_WORDS
        else:
            # Early on, all vectors have far to go in the same direction, and several learners together would overshoot.
            words = min(words, int(EARLY_SHARE * self.trained(state)) // learners**2)
        # At most an epoch in a round; otherwise learners would train on the same text in parallel.
        return max(self._largest, min(words, -(-self._epoch_words // learners)))

    def _with_queued(self, state: ScheduleState, words: int) -> ScheduleState:
        """Queues further epochs until there are `words` words. Rounds continue across epochs, so no learner waits at the
        end of one."""
        while state.epochs < self._settings.epochs and self._queued_words(state) < words:
            order = np.random.default_rng((self._settings.seed, state.epochs)).permutation(len(self._span_words))
            epoch = tuple(EpochSpan(state.epochs, int(span)) for span in order)
            state = replace(state, epochs=state.epochs + 1, queue=state.queue + epoch)
        return state

    def _queued_words(self, state: ScheduleState) -> int:
        return state.epochs * self._epoch_words - self.trained(state)

    def _words(self, spans: Iterable[EpochSpan]) -> int:
        return sum(self._span_words[span.span_index] for span in spans)


def _seed(seed: int, first: EpochSpan) -> int:
    """Depends only on the text and the epoch, not on the learner or the time, so a resumed training draws the same random
    numbers as an uninterrupted one."""
    return int(np.random.SeedSequence((seed, *first)).generate_state(1, np.uint64)[0] >> np.uint64(1))
