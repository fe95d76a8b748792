"""What merging costs, and what deaths cost: Word2Vec by 1, 2 and 4 workers on a Ray of this machine.

First words a second of each worker, the share of time that goes into merging, and the bytes that travel, for several ways of
averaging; workers beyond the cores share them, so that there only shares and bytes mean anything. Then the accuracy of
undisturbed trainings (several seeds), of one in which a worker is killed twice, and of one whose driver is killed and which
is gone on with. Peer: one worker, which merges nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from word2vec_corpus import scores, spread, write_lines

from shoal.cluster.jobs.word2vec.ray_pool import RayLearnerPool
from shoal.cluster.ray_runtime.session import joined_ray
from shoal.workers.training.word2vec import (
    AveragingSettings,
    MergeResult,
    SpanLease,
    TrainingListeners,
    TrainingStats,
    TrainingSummary,
    TrainResult,
    Word2VecSettings,
    train_word2vec,
    utf8_file,
)

WORKERS = (1, 2, 4)
KILLED_AT = (0.3, 0.6)
"""Shares of the training at which a worker is killed."""
DRIVER_KILLED_AT = 0.5


@dataclasses.dataclass(frozen=True)
class Training:
    """One training by some workers on a Ray that all share."""

    text: Path
    folder: Path
    workers: int
    settings: Word2VecSettings
    averaging: AveragingSettings

    def run(
        self,
        advanced: Callable[[RayLearnerPool, TrainingStats], None] = lambda pool, stats: None,
        pool: RayLearnerPool | None = None,
    ) -> TrainingSummary:
        """Leaves words.txt and vectors.npy in the folder."""
        pool = pool or RayLearnerPool(self.workers)

        def save(vocabulary: object, tables: object) -> None:
            np.save(self.folder / "vectors.npy", tables.vectors())  # type: ignore[attr-defined]
            (self.folder / "words.txt").write_text("\n".join(vocabulary.words))  # type: ignore[attr-defined]

        return train_word2vec(
            [utf8_file(self.text)],
            self.folder / "model",
            save,
            pool,
            self.settings,
            averaging=self.averaging,
            listeners=TrainingListeners(advanced=lambda stats: advanced(pool, stats)),
            checkpoint_every_s=1.0,
        )

    def scores(self) -> dict[str, float]:
        """Of the last run."""
        words = (self.folder / "words.txt").read_text().split("\n")
        return scores(words, np.load(self.folder / "vectors.npy"))


class TimedPool(RayLearnerPool):
    """Takes the time of each round."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.rounds: list[tuple[int, float, float]] = []
        """Words of the longest lease, seconds of training, seconds of merging."""

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        started_s = time.monotonic()
        trained = super().train(leases)
        self.rounds.append((max(lease.words for lease in leases.values()), time.monotonic() - started_s, 0.0))
        return trained

    def merge(self, rows: int) -> MergeResult:
        started_s = time.monotonic()
        merge = super().merge(rows)
        words, train_s, _ = self.rounds[-1]
        self.rounds[-1] = words, train_s, time.monotonic() - started_s
        return merge

    def share_in_long_rounds(self) -> float:
        """Of the time that went into merging, once rounds have their full length."""
        longest = max(words for words, _, _ in self.rounds)
        long = [(train_s, merge_s) for words, train_s, merge_s in self.rounds if words > 0.9 * longest]
        return sum(merge_s for _, merge_s in long) / sum(map(sum, long))


def show_merging(base: Training, averagings: Sequence[AveragingSettings]) -> None:
    """A line for each number of workers and way of averaging."""
    print("workers  words/round  all rows every  hot rows  words/s/worker  merging  in full rounds  s/merge  MB/round")
    for averaging in averagings:
        for workers in WORKERS:
            pool = TimedPool(workers)
            totals = dataclasses.replace(base, workers=workers, averaging=averaging).run(pool=pool).totals
            per_merge = totals.merge_s / totals.merges if totals.merges else 0.0
            print(
                f"{workers:7}  {averaging.round_words or 'default':>11}  {averaging.full_every:14}  {averaging.hot_rows:8}"
                f"  {totals.words_per_s_per_learner:14,.0f}  {totals.merge_share:7.1%}  {pool.share_in_long_rounds():14.1%}"
                f"  {per_merge:7.3f}  {totals.merged_bytes / totals.rounds / 1e6:8.1f}"
            )


def kill_workers(training: Training) -> TrainingSummary:
    """A training in which a worker is killed twice."""
    left = list(KILLED_AT)

    def advanced(pool: RayLearnerPool, stats: TrainingStats) -> None:
        if left and stats.share >= left[0] and len(pool.learners) == training.workers:
            left.pop(0)
            os.kill(pool.hosts[pool.learners[0]].pid, signal.SIGKILL)

    summary = training.run(advanced)
    assert summary.lost == len(KILLED_AT), summary
    return summary


def kill_driver(training: Training) -> TrainingSummary:
    """A training whose driver is killed, and which another one ends."""
    driver = multiprocessing.get_context("spawn").Process(target=_drive_until_killed, args=(training,))
    driver.start()
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    with joined_ray(training.workers):
        summary = training.run()
    assert 0 < summary.trained_before < training.settings.epochs * summary.corpus_words, summary
    return summary


def _drive_until_killed(training: Training) -> None:
    def advanced(_: RayLearnerPool, stats: TrainingStats) -> None:
        if stats.share >= DRIVER_KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    with joined_ray(training.workers):
        training.run(advanced)


def show_deaths(base: Training, seeds: int) -> None:
    """Accuracy with and without deaths."""
    trainings = [
        dataclasses.replace(base, settings=dataclasses.replace(base.settings, seed=seed)) for seed in range(1, seeds + 1)
    ]
    with joined_ray(base.workers):
        _show_scores("undisturbed", trainings, Training.run)
        _show_scores("a worker killed twice", trainings, kill_workers)
    _show_scores("the driver killed once", trainings, kill_driver)


def _show_scores(what: str, trainings: Sequence[Training], run: Callable[[Training], TrainingSummary]) -> None:
    found = []
    for training in trainings:
        run(training)
        found.append(training.scores())
    shown = ", ".join(f"{name} {spread([score[name] for score in found])}" for name in found[0])
    print(f"{what}, {len(found)} seeds: {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=0, help="of the corpus; 0 takes all")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3, help="the first has the most merges")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--round-words", type=int, nargs="+", default=[0, 250_000], help="0 is the default")
    parser.add_argument("--vocabulary", type=int, default=0, help="so many words, also rare ones; 0 takes those from 5 on")
    parser.add_argument("--no-merging", action="store_true", help="only the trainings with deaths")
    parser.add_argument("--no-deaths", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small slice")
    options = parser.parse_args()
    words, epochs = (2_000_000, 2) if options.quick else (options.words, options.epochs)
    defaults = AveragingSettings()
    averagings = [dataclasses.replace(defaults, round_words=count) for count in options.round_words]
    averagings.append(dataclasses.replace(defaults, round_words=options.round_words[-1], full_every=8, hot_rows=4096))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        write_lines(words, text)
        rare = {"min_count": 2, "max_vocabulary": options.vocabulary} if options.vocabulary else {}
        settings = Word2VecSettings(dim=options.dim, epochs=epochs, **rare)
        base = Training(text, Path(folder), 2, settings, defaults)
        started_s = time.monotonic()
        if not options.no_merging:
            with joined_ray(max(WORKERS)):
                show_merging(base, averagings)
        if not options.no_deaths:
            show_deaths(base, options.seeds)
        print(f"{time.monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main()
