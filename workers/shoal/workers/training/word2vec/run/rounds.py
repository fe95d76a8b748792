"""Runs the rounds of a training: leases, merges, checkpoints, and what happens when learners are lost.

`schedule` decides which text is next, and the pool trains and merges; this module adds the clock and the disk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shoal.workers.training.word2vec.averaging.averaging_settings import AveragingSettings
from shoal.workers.training.word2vec.errors import TrainingError, diverged
from shoal.workers.training.word2vec.learner import TrainResult
from shoal.workers.training.word2vec.run.checkpoint import CHECKPOINT_EVERY_S, Checkpoint, is_due
from shoal.workers.training.word2vec.run.learner_pool import LearnerPool, LearnersLost
from shoal.workers.training.word2vec.run.progress import RoundStats, TrainingProgress
from shoal.workers.training.word2vec.run.schedule import Schedule, ScheduleState
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables

CHECKED_ROWS = 10_000
"""Rows checked at once; the check needs memory."""
MAX_LOST_POOLS = 5
"""The training ends when all learners are lost this many times in a row, without a finished round in between."""


@dataclass(frozen=True, slots=True)
class RoundsPlan:
    """What the rounds train."""

    settings: Word2VecSettings
    averaging: AveragingSettings
    span_words: tuple[int, ...]
    words: int
    """Words of the vocabulary: the rows of a table."""
    digest: str
    """Digest of the vocabulary."""
    checkpoint: Path
    checkpoint_every_s: float = CHECKPOINT_EVERY_S


class Rounds:
    """The rounds of one run of a training."""

    def __init__(self, plan: RoundsPlan, pool: LearnerPool, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._pool = pool
        self._clock = clock
        self._schedule = Schedule(plan.settings, plan.span_words, plan.averaging.round_words)
        self._state = ScheduleState()
        self._saved_s = self._wrote_for_s = 0.0
        self._stopped = False
        self.resumed_at = 0
        """Words that earlier runs trained."""

    def prepare(self) -> None:
        """Gives all learners the tables of the last checkpoint, or those of a new training. Raises TrainingError."""
        self._load_checkpoint()
        self.resumed_at = self._state.done

    def run(self, stop: Callable[[], bool], on_round: Callable[[TrainingProgress], None]) -> TrainingProgress:
        """Trains to the end, or to the end of the round in which `stop` becomes true; a checkpoint is written then.

        `on_round` is called after each round. Raises TrainingError when the training cannot continue; the last
        checkpoint is kept.
        """
        self._saved_s = self._clock()
        progress = TrainingProgress(self._state.done, self._schedule.total_words, self._clock())
        self._stopped = stop()
        lost_pools = 0
        while not self.finished and not self._stopped:
            try:
                done = self._round(stop)
            except LearnersLost as error:
                lost_pools += 1
                if lost_pools == MAX_LOST_POOLS:
                    raise TrainingError(f"all workers were lost {lost_pools} times in a row: {error}") from error
                self._load_checkpoint()
                continue
            lost_pools = 0
            progress.finished(done, self._clock())
            on_round(progress)
        return progress

    def tables(self) -> Tables:
        """The trained tables. Raises TrainingError when a value is not finite."""
        tables = self._pool.tables()
        self._check_finite(tables)
        return tables

    def save(self) -> None:
        """Writes a checkpoint, between two rounds. Raises TrainingError."""
        started_s = self._clock()
        Checkpoint(self._state, self.tables(), self._plan.digest).write(self._plan.checkpoint)
        self._saved_s = self._clock()
        self._wrote_for_s = self._saved_s - started_s

    @property
    def finished(self) -> bool:
        """Whether the training is finished."""
        return self._schedule.finished(self._state)

    def _round(self, stop: Callable[[], bool]) -> RoundStats:
        plan, pool, schedule = self._plan, self._pool, self._schedule
        before = pool.learners
        self._state, leases = schedule.lease(self._state, before)
        started_s = self._clock()
        trained = pool.train(leases)
        trained_s = self._clock()
        rate = next(iter(leases.values())).last_rate
        done = sum(trained.values(), TrainResult(0, 0.0, 0))
        if not math.isfinite(done.loss):
            raise diverged(self._plan.settings.first_rate)
        due = is_due(trained_s, self._saved_s, self._wrote_for_s, plan.checkpoint_every_s)
        rows = plan.averaging.rows(self._state.rounds, plan.words)
        # New learners and checkpoints need tables of which all rows are merged.
        self._stopped = stop()
        if due or pool.waiting or self._stopped or schedule.all_leased(self._state):
            rows = plan.words
        merge = pool.merge(rows)
        if rows == plan.words:
            self._state = schedule.merged(self._state, merge.included)
        else:
            self._state = schedule.lost(self._state, set(self._state.held) - set(pool.learners))
        merged_s = self._clock()
        if rows == plan.words:
            if due or self._stopped:
                self.save()
            if pool.waiting:
                pool.admit()
        return RoundStats(
            words=schedule.trained(self._state),
            trained=done,
            rate=rate,
            learners=len(before),
            lost=pool.lost,
            train_s=trained_s - started_s,
            merge_s=merged_s - trained_s,
            merged_bytes=merge.bytes,
        )

    def _load_checkpoint(self) -> None:
        """Continues from the last checkpoint, or from the beginning: at first, and when no learner is left."""
        plan = self._plan
        found = Checkpoint.read(plan.checkpoint, plan.digest, plan.words, plan.settings.dim)
        self._state = found.state if found else ScheduleState()
        for attempt in range(MAX_LOST_POOLS):
            try:
                self._pool.load(found.tables if found else None)
                return
            except LearnersLost as error:
                if attempt == MAX_LOST_POOLS - 1:
                    raise TrainingError(f"all workers were lost {MAX_LOST_POOLS} times in a row: {error}") from error

    def _check_finite(self, tables: Tables) -> None:
        for table in (tables.input, tables.output):
            for begin in range(0, len(table), CHECKED_ROWS):
                if not np.isfinite(table[begin : begin + CHECKED_ROWS]).all():
                    raise diverged(self._plan.settings.first_rate)
