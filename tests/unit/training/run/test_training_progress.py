"""Rates are those of the last minute, totals those of all rounds; a pace of zero is handled."""

from __future__ import annotations

import pytest

from shoal.workers.training.word2vec.learner import TrainResult
from shoal.workers.training.word2vec.run.progress import RoundStats, TrainingProgress


def done(words: int, trained: int, loss: float = 10.0, learners: int = 2, merge_s: float = 1.0) -> RoundStats:
    return RoundStats(
        words=words,
        trained=TrainResult(trained, loss, 5),
        rate=0.01,
        learners=learners,
        lost=0,
        train_s=9.0,
        merge_s=merge_s,
        merged_bytes=1000 if merge_s else 0,
    )


def test_a_round() -> None:
    progress = TrainingProgress(1000, 3000, 100.0)
    assert progress.stats().eta_s is None and progress.stats().share == pytest.approx(1 / 3)
    assert progress.totals().words_per_s == progress.totals().merge_share == progress.totals().bytes_per_merge == 0
    progress.finished(done(2000, 1000), 110.0)
    stats = progress.stats()
    assert (stats.words, stats.words_per_s, stats.eta_s, stats.loss) == (2000, 100, 10, 2)
    assert (stats.share, stats.merge_share, stats.learners) == (pytest.approx(2 / 3), 0.1, 2)
    totals = progress.totals()
    assert (totals.rounds, totals.words, totals.merges, totals.bytes_per_merge) == (1, 1000, 1, 1000)
    assert totals.words_per_s == 100 and totals.words_per_s_per_learner == pytest.approx(1000 / 18)


def test_the_last_minute_decides_the_pace() -> None:
    progress = TrainingProgress(0, 100_000, 0.0)
    progress.finished(done(100, 100, loss=500), 100.0)
    for second in range(110, 200, 10):
        progress.finished(done(100 + (second - 100) * 50, 500), float(second))
    stats = progress.stats()
    assert stats.words_per_s == 50 and stats.loss == 2
    assert progress.totals().rounds == 10 and progress.totals().words == 100 + 9 * 500


def test_lost_words_do_not_give_a_negative_pace() -> None:
    progress = TrainingProgress(5000, 10_000, 0.0)
    progress.finished(done(1000, 500), 10.0)
    assert progress.stats().words_per_s == 0 and progress.stats().eta_s is None


def test_rounds_without_a_merge_are_not_counted_as_merges() -> None:
    progress = TrainingProgress(0, 1000, 0.0)
    progress.finished(done(500, 500, merge_s=0.0), 9.0)
    assert progress.totals().merges == 0 and progress.totals().merge_share == 0
