"""Learners die at any moment of a round: the training ends, every word counts once per epoch, and all tables agree."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import pytest

from shoal.workers.training.word2vec.averaging.averaging_settings import AveragingSettings
from shoal.workers.training.word2vec.averaging.merge import MergeScheme
from shoal.workers.training.word2vec.errors import TrainingError
from support.training.scripted_pool import ScriptedPool
from support.training_run import ROUND_WORDS, Run, equal, small_settings

HOT = AveragingSettings(round_words=ROUND_WORDS, full_every=3, hot_rows=40)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize("averaging", [AveragingSettings(round_words=ROUND_WORDS), HOT], ids=["all", "hot"])
@pytest.mark.parametrize("wanted", ["load", "train", "delta", "apply", "join"])
def test_learners_die_at_any_moment(run: Run, wanted: str, averaging: AveragingSettings) -> None:
    seen = 0
    for seed in range(2):
        chosen = random.Random(seed)

        def dies(moment: str, _: int, chosen: random.Random = chosen) -> bool:
            nonlocal seen
            died = chosen.random() < (0.15 if moment == wanted else 0.02)
            seen += died and moment == wanted
            return died

        pool = ScriptedPool(3, dies, late=seed)
        summary = run.train(small_settings(epochs=8, seed=seed), pool, averaging=averaging)
        assert run.rounds[-1].words == 8 * summary.corpus_words and summary.lost == pool.lost
        assert all(equal(tables, run.tables) for tables in pool.all_tables())
        assert pool.closed
    assert seen


def test_a_lost_learners_text_is_trained_again_at_once(run: Run) -> None:
    pool = ScriptedPool(2, lambda moment, learner: moment == "train" and learner == 1 and len(pool.leased) == 6)
    run.train(pool=pool)
    spans = dict(pool.leased[4:6])
    again = [span for _, lease in pool.leased[6:] for span in lease.spans]
    assert again[: len(spans[1].spans)] == list(spans[1].spans)
    # One learner goes on alone, and then another one joins.
    assert [stats.learners for stats in run.rounds[:6]] == [2, 2, 2, 1, 2, 2]
    assert pool.lost == pool.admitted == 1


def test_a_learner_that_joins_starts_from_the_merged_tables(run: Run) -> None:
    pool = ScriptedPool(3, lambda moment, learner: moment == "train" and learner == 2 and len(pool.leased) == 6, late=2)
    run.train(pool=pool, averaging=HOT)
    assert pool.admitted == 1 and len(pool.all_tables()) == 3
    assert all(equal(tables, run.tables) for tables in pool.all_tables())


def test_without_learners_training_returns_to_the_checkpoint(run: Run) -> None:
    pool = ScriptedPool(2, lambda moment, _: moment == "train" and len(pool.leased) == 10)
    summary = run.train(pool=pool, checkpoint_every_s=0.0)
    assert summary.lost == 2 and run.rounds[-1].words == 3 * summary.corpus_words
    assert summary.totals.words < 2 * 3 * summary.corpus_words

    other = ScriptedPool(2, lambda moment, _: moment == "train" and len(other.leased) == 10)
    summary = run.train(pool=other, checkpoint_every_s=1e9)
    # There is none: the training restarts.
    assert summary.totals.words > 3 * summary.corpus_words == run.rounds[-1].words


def test_learners_that_never_finish_a_round_are_given_up(run: Run) -> None:
    for moment in ("load", "train"):
        with pytest.raises(TrainingError, match=f"all workers were lost 5 times in a row: .* in {moment}$"):
            run.train(pool=ScriptedPool(2, lambda now, _, moment=moment: now == moment))


def test_a_training_by_several_learners_is_reproducible_and_depends_on_the_scheme(run: Run) -> None:
    for scheme in [*MergeScheme, MergeScheme.MEAN]:
        run.train(pool=ScriptedPool(3), averaging=AveragingSettings(round_words=ROUND_WORDS, scheme=scheme))
    *tables, again = (saved for _, saved in run.saved)
    assert equal(tables[list(MergeScheme).index(MergeScheme.MEAN)], again)
    assert not any(equal(one, other) for one, other in combinations(tables, 2))


def test_hot_rows_travel_in_every_round_and_all_rows_now_and_then(run: Run) -> None:
    rounds = []

    class Watched(ScriptedPool):
        def merge(self, rows: int):
            rounds.append(rows)
            return super().merge(rows)

    pool = Watched(2)
    run.train(pool=pool, averaging=HOT, checkpoint_every_s=1e9)
    words = run.tables.count
    expected = [words if number % 3 == 0 else 40 for number in range(1, len(rounds) + 1)]
    # After the last round every learner has all changes.
    assert rounds == [*expected[:-1], words]
    assert all(equal(tables, run.tables) for tables in pool.all_tables())


@pytest.mark.parametrize("learners", [3, 2])
def test_an_interrupted_training_resumes_with_any_number_of_learners(run: Run, learners: int) -> None:
    run.train(pool=ScriptedPool(3))

    def stop(number: int) -> None:
        if number == 4:
            raise RuntimeError

    run.at_round = stop
    with pytest.raises(RuntimeError):
        run.train(pool=ScriptedPool(3))
    run.at_round = lambda number: None
    summary = run.train(pool=ScriptedPool(learners))
    assert 0 < summary.trained_before == 3 * summary.corpus_words - summary.totals.words
    # The same number of learners ends with the same bits.
    assert equal(run.saved[0][1], run.tables) == (learners == 3)


@pytest.mark.parametrize(("name", "value", "least"), [("round_words", 999, 1000), ("full_every", 0, 1), ("hot_rows", -1, 0)])
def test_invalid_averaging_settings(name: str, value: int, least: int) -> None:
    with pytest.raises(TrainingError, match=f"^{name} is {value}, must be between {least} and "):
        AveragingSettings(**{name: value})  # type: ignore[arg-type]
