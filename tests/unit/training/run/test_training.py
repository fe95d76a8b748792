"""A training in this process: from text to a table, interrupted and resumed, refused and failed."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shoal.workers.training.word2vec.corpus.corpus_settings import CorpusSettings
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.run.learner_pool import MachineMemory
from shoal.workers.training.word2vec.run.local_pool import LocalLearnerPool
from shoal.workers.training.word2vec.run.training_run import check_memory, table_bytes
from shoal.workers.training.word2vec.run.work_folder import WorkFolder
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables
from support.training.scripted_pool import ScriptedPool
from support.training_run import CORPUS_SETTINGS, Run, equal, small_settings


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The result of the training that the tests interrupt."""
    run = Run(tmp_path_factory.mktemp("undisturbed"))
    run.train()
    return run.saved[0][1]


def fail(at: int, error: BaseException) -> Callable[[int], None]:
    def at_round(number: int) -> None:
        if number == at:
            raise error

    return at_round


def test_it_trains_every_word_in_every_epoch_and_learns(run: Run) -> None:
    summary = run.train(small_settings(epochs=20, learning_rate=0.1))
    [(vocabulary, tables)] = run.saved
    assert summary.totals.words == 20 * summary.corpus_words == 20 * int(vocabulary.counts.sum())
    assert summary.corpus is not None and summary.corpus.words >= summary.corpus_words
    assert summary.vocabulary == len(vocabulary.words) == tables.count
    assert run.rounds[-1].share == 1.0 and run.rounds[-1].words == summary.totals.words
    assert run.rounds[-1].loss < run.rounds[0].loss
    rates = [stats.rate for stats in run.rounds]
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(1e-4)
    assert run.phases[0] == "reading the corpus" and run.phases[-1] == "saving"
    assert not run.work.exists()


def test_two_trainings_with_one_seed_are_the_same_and_another_seed_is_another(run: Run, undisturbed: Tables) -> None:
    run.train()
    assert equal(run.saved[0][1], undisturbed)
    run.train(small_settings(seed=2))
    assert not np.array_equal(run.saved[1][1].input, undisturbed.input)


def test_a_training_that_fails_in_the_middle_resumes_to_the_same_bits(run: Run, undisturbed: Tables) -> None:
    run.at_round = fail(4, RuntimeError("lights out"))
    with pytest.raises(RuntimeError, match="lights out"):
        run.train()
    assert run.work.exists() and not run.saved
    run.at_round = fail(5, RuntimeError("again"))
    with pytest.raises(RuntimeError, match="again"):
        run.train()
    run.at_round = fail(-1, RuntimeError())
    summary = run.train()
    assert equal(run.saved[0][1], undisturbed)
    # It did not read the text again, nor train spans twice.
    assert "reading the corpus" not in run.phases and summary.corpus is None
    assert summary.trained_before > 0 and run.started[-1][1] == summary.trained_before
    assert summary.trained_before + summary.totals.words == 3 * summary.corpus_words
    assert not run.work.exists()


def test_a_failure_without_a_checkpoint_begins_with_the_encoded_corpus(run: Run, undisturbed: Tables) -> None:
    run.at_round = fail(2, RuntimeError("lights out"))
    with pytest.raises(RuntimeError, match="lights out"):
        run.train(checkpoint_every_s=1e9)
    # Without a checkpoint, nothing ties the folder to these settings.
    run.at_round = fail(-1, RuntimeError())
    run.train(small_settings(dim=20), checkpoint_every_s=1e9)
    assert run.saved[0][1].dim == 20 and "reading the corpus" not in run.phases


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_round_end_and_leaves_a_checkpoint(run: Run, undisturbed: Tables, number: signal.Signals) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    try:
        run.at_round = lambda done: os.kill(os.getpid(), number) if done == 3 else None
        with pytest.raises(KeyboardInterrupt):
            run.train(checkpoint_every_s=1e9)
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
    assert len(run.rounds) == 4
    run.at_round = fail(-1, RuntimeError())
    summary = run.train()
    assert summary.trained_before == 3 * summary.corpus_words - summary.totals.words > 0
    assert equal(run.saved[0][1], undisturbed)


def test_a_failed_save_loses_nothing(run: Run, undisturbed: Tables) -> None:
    def full() -> None:
        raise TrainingError("model: No space left on device")

    run.at_save = full
    with pytest.raises(TrainingError, match="No space left"):
        run.train(checkpoint_every_s=1e9)
    run.at_save = lambda: None
    summary = run.train()
    assert summary.totals.words == 0 and summary.trained_before == 3 * summary.corpus_words
    assert equal(run.saved[0][1], undisturbed)


def test_another_training_is_refused_with_the_difference_unless_overwritten(run: Run, undisturbed: Tables) -> None:
    run.at_round = fail(3, RuntimeError())
    with pytest.raises(RuntimeError):
        run.train()
    run.at_round = fail(-1, RuntimeError())
    for changed, message in (
        ({"settings": small_settings(window=7)}, "window 5, this one has 7"),
        ({"settings": small_settings(min_count=3)}, "min_count 2, this one has 3"),
        ({"corpus_settings": CorpusSettings()}, 'tokenizer "unicode", this one has "whitespace"'),
    ):
        with pytest.raises(TrainingError, match=f"^{run.work}: contains an interrupted training with {message}"):
            run.train(**changed)  # type: ignore[arg-type]
    with run.text.open("a") as file:
        file.write("something new")
    with pytest.raises(TrainingError, match="interrupted training with digest of the corpus"):
        run.train()
    assert run.train(small_settings(window=7), overwrite=True).trained_before == 0


def test_two_at_once_are_refused(run: Run) -> None:
    held = WorkFolder(run.output)
    try:
        with pytest.raises(TrainingError, match=rf"model: another training is running there \(process {os.getpid()}\)"):
            run.train()
    finally:
        held.close()
    run.train()


def test_overflow_is_reported_with_the_learning_rate(run: Run) -> None:
    with pytest.raises(TrainingError, match=r"^the training diverged: learning_rate 10 is too high$"):
        run.train(small_settings(learning_rate=10.0, epochs=200))
    assert not run.saved


def test_bad_input_leaves_nothing_behind(run: Run) -> None:
    with pytest.raises(TrainingError, match="min_count"):
        run.train(small_settings(min_count=100_000))
    run.text.write_text(" \n ")
    with pytest.raises(TrainingError, match="no words"):
        run.train()
    run.text.unlink()
    with pytest.raises(TrainingError, match="No such file"):
        run.train()
    assert not run.work.exists()


@pytest.mark.parametrize(
    ("text", "settings", "reason"),
    [
        ("", small_settings(), "the corpus is empty: "),
        (" \n\n", small_settings(), "the corpus has no words"),
        ("a b c", small_settings(), "no word of the corpus occurs 2 times (min_count)"),
        (
            "a\na\nb\nb\nc d\n",
            small_settings(),
            "nothing was trained: words are learned from their neighbours, and no sentence has two words of the vocabulary "
            "(sentences: 4, min_count: 2, max_sentence: 1000)",
        ),
        (
            "a b " * 50,
            small_settings(sample=1e-12),
            "nothing was trained: subsampling dropped the neighbours of all 100 words in each epoch (sample is 1e-12); "
            "use sample 0 for a small text",
        ),
    ],
)
@pytest.mark.parametrize("learners", [1, 2])
def test_a_training_that_trains_nothing_is_an_error_that_says_why(
    run: Run, text: str, settings: Word2VecSettings, reason: str, learners: int
) -> None:
    run.text.write_text(text)
    with pytest.raises(TrainingError) as raised:
        run.train(settings, pool=ScriptedPool(learners), corpus_settings=CorpusSettings())
    assert str(raised.value).startswith(reason)
    assert not run.saved and not run.work.exists()


def test_too_large_a_vocabulary_is_refused_before_training(run: Run) -> None:
    class Small(LocalLearnerPool):
        def machines(self) -> list[MachineMemory]:
            return [MachineMemory("this machine", 1, 100_000)]

    with pytest.raises(TrainingError, match=r"words of dim 16 need 0\.0 GiB on this machine .* are free"):
        run.train(pool=Small())
    assert "training" not in run.phases
    assert LocalLearnerPool().machines()[0].free_bytes > 1 << 20


def test_memory_counts_all_learners_of_a_machine() -> None:
    need = table_bytes(1000, 100)
    assert need == 8 * 4 * 1000 * 112
    check_memory([MachineMemory("a", 2, 2 * need), MachineMemory("b", 1, need)], 1000, 100)
    with pytest.raises(TrainingError, match=r"on a \(two tables and copies, 2 times\)"):
        check_memory([MachineMemory("a", 2, 2 * need - 1)], 1000, 100)
    # A single learner merges nothing.
    check_memory([MachineMemory("a", 1, need // 2)], 1000, 100)


def test_phrases_are_words_of_the_vocabulary(run: Run) -> None:
    run.train()
    run.train(corpus_settings=dataclasses.replace(CORPUS_SETTINGS, phrases=1, phrase_threshold=20.0, phrase_discount=2))
    plain, joined = (set(vocabulary.words) for vocabulary, _ in run.saved)
    new = joined - plain
    assert "joining phrases" in run.phases and len(new) > 3
    assert all(set(word.split("_", 1)) <= plain for word in new)


def test_several_threads_train_all_of_it(run: Run) -> None:
    assert run.train(pool=LocalLearnerPool(2)).totals.words == 3 * int(run.saved[0][0].counts.sum())
    with pytest.raises(TrainingError, match="threads is 0"):
        LocalLearnerPool(0)


def test_too_many_learners_for_the_text_are_reported(run: Run) -> None:
    run.train()
    assert run.too_few_words == []
    summary = run.train(pool=ScriptedPool(2), overwrite=True)
    assert run.too_few_words == [(small_settings().epochs * summary.corpus_words, 1)]
