"""Learners as processes of a real Ray: they merge, are killed and replaced, and every word counts once."""

from __future__ import annotations

import gzip
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray

from shoal.cluster.jobs.word2vec.corpus_files import find_corpus, read_corpus_unit
from shoal.cluster.jobs.word2vec.ray_pool import RayLearnerPool
from shoal.workers.training.word2vec.averaging.averaging_settings import AveragingSettings
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.run.training_run import TrainingSummary
from support.training.faulty_learners import dying_learner, straying_learner
from support.training.scripted_pool import ScriptedPool
from support.training_run import ROUND_WORDS, Run, equal, small_settings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
EPOCHS = 8
SETTINGS = small_settings(epochs=EPOCHS)
JOINED_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    """A Ray that the tests of this module share."""
    # So that a worker finds the learners of these tests.
    paths = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    with pytest.MonkeyPatch.context() as patch:
        # A process keeps the mode that its first Ray had; all tests that start one in this process name the same.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env=paths)
        yield
        ray.shutdown()


def await_recruit(pool: RayLearnerPool) -> None:
    """Slows the training until a learner can join; otherwise it would end before."""
    deadline = time.monotonic() + JOINED_S
    while not pool.waiting:
        assert time.monotonic() < deadline, "no learner joined"
        time.sleep(0.02)


def kill(pool: RayLearnerPool, *learners: int) -> None:
    """Kills their processes, as a machine may do."""
    for learner in learners:
        os.kill(pool.hosts[learner].pid, signal.SIGKILL)


def check_complete(run: Run, summary: TrainingSummary) -> None:
    """Every word counts once per epoch, and there is a result."""
    assert run.rounds[-1].words == run.rounds[-1].total_words == EPOCHS * summary.corpus_words
    assert np.isfinite(run.tables.input).all() and run.tables.output.any()
    assert run.rounds[-1].loss < run.rounds[0].loss
    assert not run.work.exists()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_actors_give_the_same_bits_as_learners_in_one_process(run: Run) -> None:
    summary = run.train(SETTINGS, RayLearnerPool(2))
    check_complete(run, summary)
    totals = summary.totals
    assert {stats.learners for stats in run.rounds} == {2} and summary.lost == 0
    assert totals.words == EPOCHS * summary.corpus_words
    assert totals.merges == totals.rounds > 10 and totals.bytes_per_merge > 10_000 and 0 < totals.merge_share < 1
    run.train(SETTINGS, ScriptedPool(2))
    assert equal(run.saved[0][1], run.saved[1][1])


def test_a_learner_is_killed_twice(run: Run) -> None:
    pool = RayLearnerPool(2)
    kills = []

    def at_round(number: int) -> None:
        if len(pool.learners) == 1:
            await_recruit(pool)
        elif len(kills) < 2 and number > 3 * len(kills) + 3:
            kills.append(number)
            kill(pool, pool.learners[len(kills) - 1])

    run.at_round = at_round
    summary = run.train(SETTINGS, pool)
    check_complete(run, summary)
    assert len(kills) == 2 and summary.lost == 2
    # After each kill there were two again.
    counts = [stats.learners for stats in run.rounds]
    assert counts[-1] == 2 and 1 in counts
    # The last round of a killed learner was trained again.
    assert summary.totals.words >= EPOCHS * summary.corpus_words


def test_after_the_loss_of_all_learners_training_resumes_from_the_checkpoint(run: Run) -> None:
    pool = RayLearnerPool(2)
    run.at_round = lambda number: kill(pool, *pool.learners) if number == 8 else None
    summary = run.train(SETTINGS, pool)
    check_complete(run, summary)
    assert summary.lost == 2 and summary.totals.words < 2 * EPOCHS * summary.corpus_words


@pytest.mark.parametrize("method", ["delta", "apply"])
def test_a_learner_dies_in_the_middle_of_a_merge(method: str, run: Run, tmp_path: Path) -> None:
    died = tmp_path / "died"
    pool = RayLearnerPool(3, make=partial(dying_learner, method=method, died=str(died)))

    def at_round(number: int) -> None:
        if len(pool.learners) == 2 and number < 12:
            await_recruit(pool)

    run.at_round = at_round
    # Hot rows alone in two of three rounds: what the dead learner had of the others is trained again.
    averaging = AveragingSettings(round_words=ROUND_WORDS, full_every=3, hot_rows=50)
    summary = run.train(SETTINGS, pool, averaging=averaging)
    check_complete(run, summary)
    assert died.exists() and summary.lost == 1
    assert run.rounds[-1].learners == 3


def test_learners_that_differ_after_a_merge_end_the_training(run: Run, tmp_path: Path) -> None:
    pool = RayLearnerPool(2, make=partial(straying_learner, strayed=str(tmp_path / "strayed")))
    with pytest.raises(TrainingError, match="the workers' tables diverged after a merge"):
        run.train(SETTINGS, pool)
    assert not run.saved


def test_an_error_of_a_learner_ends_the_training_with_one_line(run: Run) -> None:
    with pytest.raises(TrainingError, match="learning_rate") as message:
        run.train(small_settings(epochs=200, learning_rate=10.0), RayLearnerPool(2))
    assert "\n" not in str(message.value)


def test_tasks_read_damaged_files_as_far_as_possible_and_name_what_is_lost(run: Run) -> None:
    folder = run.text.parent / "corpus"
    folder.mkdir()
    packed = gzip.compress(run.text.read_bytes())
    (folder / "a.txt.gz").write_bytes(packed + b"garbage")
    (folder / "b.gz").write_bytes(b"no gzip")
    (folder / "c.jsonl").write_text('{"text": "good"}\n[]\n')
    run.files = find_corpus([str(folder)], (), hidden=False).files
    summary = run.train(SETTINGS, RayLearnerPool(2), reader=read_corpus_unit)
    check_complete(run, summary)
    assert [(Path(row.path).name, row.line) for row in run.unread] == [
        ("a.txt.gz", run.text.read_text().count("\n") + 1),
        ("b.gz", 1),
        ("c.jsonl", 2),
    ]
    (folder / "a.txt.gz").unlink()
    with pytest.raises(TrainingError, match=r"a\.txt\.gz: cannot be read: ") as message:
        run.train(SETTINGS, RayLearnerPool(2), reader=read_corpus_unit)
    assert "\n" not in str(message.value) and not run.work.exists()


def test_more_workers_than_the_cluster_has_room_for() -> None:
    with pytest.raises(TrainingError, match="workers is 3: with 2 threads each, the Ray cluster has room for 2"):
        RayLearnerPool(3, threads=2)
    with pytest.raises(TrainingError, match=r"workers is 1: with 1 threads and 1 GPUs each, .* room for 0"):
        RayLearnerPool(1, gpus=1)
