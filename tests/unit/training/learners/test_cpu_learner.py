"""The CPU learner: its changes, merges with others, threads, and overflow."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.workers.training.word2vec.averaging.merge import MergeScheme, merge
from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.learner import SENTENCE_END, ModelDelta, TableDelta
from shoal.workers.training.word2vec.learners.cpu_learner import CpuLearner, _sentence_cuts
from shoal.workers.training.word2vec.settings import Word2VecSettings
from shoal.workers.training.word2vec.tables import Tables, aligned, padded

WORDS = 30
COUNTS = np.arange(60, 30, -1).astype(np.int64)
SETTINGS = Word2VecSettings(dim=20, sample=0)


def sentences(seed: int, count: int = 50) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.concatenate(
        [np.append(random.integers(0, WORDS - 5, random.integers(2, 9)), SENTENCE_END) for _ in range(count)]
    ).astype(np.int32)


def learner(threads: int = 1) -> CpuLearner:
    made = CpuLearner(SETTINGS, COUNTS, Tables.initial(WORDS, 20, 1), threads)
    made.track()
    return made


def test_a_change_is_the_difference_in_the_rows_that_differ() -> None:
    one = learner()
    before = one.tables().input.copy()
    one.train(np.array([3, 4, 3, SENTENCE_END], np.int32), 0.05, 0.05, 1)
    # The outputs are zeros at first, so they change first.
    one.train(np.array([3, 4, 3, SENTENCE_END], np.int32), 0.05, 0.05, 2)
    change = one.delta(WORDS)
    assert change.input.rows.tolist() == [3, 4]
    np.testing.assert_array_equal(change.input.values, one.tables().input[[3, 4]] - before[[3, 4]])
    assert {3, 4} <= set(change.output.rows.tolist()) and change.output.values.any(axis=1).all()
    assert one.delta(4).input.rows.tolist() == [3]
    assert change.nbytes == sum(part.rows.nbytes + part.values.nbytes for part in (change.input, change.output))


def test_learners_agree_after_a_merge() -> None:
    learners = [learner(), learner(), learner()]
    for round in range(3):
        for number, one in enumerate(learners):
            one.train(sentences(10 * round + number), 0.05, 0.05, number)
        found = [one.delta(WORDS) for one in learners]
        merged = ModelDelta(
            merge(MergeScheme.ADASUM, [change.input for change in found], 3),
            merge(MergeScheme.ADASUM, [change.output for change in found], 3),
        )
        for one in learners:
            one.apply(WORDS, merged)
        first = learners[0].tables()
        for other in learners[1:]:
            assert np.array_equal(first.input, other.tables().input) and np.array_equal(first.output, other.tables().output)
        assert all(not len(one.delta(WORDS).input.rows) for one in learners)


def test_rows_that_are_not_merged_keep_what_the_learner_made_of_them() -> None:
    one = learner()
    one.train(sentences(1), 0.05, 0.05, 1)
    one.train(sentences(2), 0.05, 0.05, 1)
    rare = one.tables().input[10:].copy()
    found = one.delta(10)
    one.apply(10, ModelDelta(TableDelta(found.input.rows, found.input.values * np.float32(0.5)), found.output))
    assert np.array_equal(one.tables().input[10:], rare)
    left = one.delta(WORDS)
    assert left.input.rows.min() >= 10 and len(left.input.rows) > 5
    for some, table in zip(one.base_rows(np.array([2, 11])), (one.tables().input, one.tables().output), strict=True):
        np.testing.assert_array_equal(some[0], table[2])
    # Not merged, so the base still has the first vector.
    np.testing.assert_array_equal(one.base_rows(np.array([11]))[0], learner().tables().input[[11]])


def test_an_agreement_undoes_what_was_not_merged() -> None:
    one, untouched = learner(), learner()
    one.train(sentences(1), 0.05, 0.05, 1)
    empty = TableDelta(np.empty(0, np.int32), np.empty((0, padded(20)), np.float32))
    one.apply(WORDS, ModelDelta(empty, empty))
    assert np.array_equal(one.tables().output, untouched.tables().output)


def test_merged_changes_may_be_read_only() -> None:
    one = learner()
    one.train(sentences(1), 0.05, 0.05, 1)
    found = one.delta(WORDS)
    for delta in (found.input, found.output):
        delta.rows.flags.writeable = delta.values.flags.writeable = False
    merged = ModelDelta(
        merge(MergeScheme.ADASUM, [found.input] * 2, 2), merge(MergeScheme.NORM_RATIO, [found.output] * 2, 2)
    )
    one.apply(WORDS, found)
    one.apply(WORDS, merged)


def test_threads_share_the_text_and_train_all_of_it() -> None:
    ids = sentences(5, count=200)
    one = learner(threads=3)
    trained = one.train(ids, 0.05, 0.01, 1)
    assert trained.words == (ids >= 0).sum()
    losses = [one.train(ids, 0.05, 0.05, seed) for seed in range(8)]
    assert losses[-1].loss / losses[-1].pairs < trained.loss / trained.pairs
    assert one.train(np.array([1, 2, SENTENCE_END], np.int32), 0.05, 0.05, 1).words == 2
    assert one.train(np.empty(0, np.int32), 0.05, 0.05, 1).words == 0


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_text_is_cut_between_sentences(parts: int) -> None:
    ids = sentences(6, count=40)
    cuts = _sentence_cuts(ids, parts)
    assert len(cuts) == parts + 1 and cuts[0] == 0 and cuts[-1] == len(ids) and cuts == sorted(cuts)
    assert all(ids[cut - 1] == SENTENCE_END for cut in cuts[1:])


def test_a_text_without_an_end_is_one_sentence() -> None:
    assert _sentence_cuts(np.zeros(10, np.int32), 3) == [0, 10, 10, 10]


def test_overflow_is_reported_with_the_learning_rate() -> None:
    one = learner()
    one.train(sentences(1), 0.05, 0.05, 1)
    one.tables().input[7, 3] = np.nan
    with pytest.raises(TrainingError, match=r"learning_rate 0\.025 is too high"):
        one.delta(WORDS)
    one.tables().input[7, 3] = np.inf
    with pytest.raises(TrainingError, match="learning_rate"):
        one.delta(WORDS)
    one.delta(7)


def test_tables_are_aligned_and_padded_with_zeros() -> None:
    tables = Tables.initial(7, 20, 3)
    assert tables.input.shape == (7, 32) and tables.input.ctypes.data % 64 == 0
    assert tables.vectors().any() and not tables.input[:, 20:].any() and not tables.output.any()
    assert np.abs(tables.input).max() <= 0.5 / 20
    assert np.array_equal(tables.input, Tables.initial(7, 20, 3).input)
    assert aligned((3, 16)).shape == (3, 16)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("dim", -5, "1 and 4096"),
        ("dim", 0, "1 and"),
        ("window", 0, "1 and 256"),
        ("negative", 0, "1 and 64"),
        ("epochs", 0, "1 and"),
    ]
    + [("learning_rate", float("nan"), "0 and 10"), ("sample", -1, "0 and 1"), ("min_count", 0, "1 and")]
    + [
        ("seed", -1, "0 and"),
        ("min_learning_rate", 1.0, "0 and 0.025"),
        ("negative_power", 3, "0 and 2"),
        ("max_vocabulary", -1, "0 and"),
    ],
)
def test_settings_out_of_range_are_reported_with_the_limit(field: str, value: float, limit: str) -> None:
    with pytest.raises(TrainingError, match=f"{field} is .*must be between {limit}"):
        Word2VecSettings(**{field: value})  # pyright: ignore[reportArgumentType]


def test_the_rate_falls_to_its_least() -> None:
    settings = Word2VecSettings(learning_rate=0.05, min_learning_rate=0.01)
    assert [settings.rate(done) for done in (0, 0.5, 1, 1.5)] == pytest.approx([0.05, 0.03, 0.01, 0.01])
    assert Word2VecSettings(cbow=True).first_rate == 0.05 and Word2VecSettings().first_rate == 0.025


def test_a_learner_without_threads_is_refused() -> None:
    with pytest.raises(TrainingError, match="threads is 0, must be at least 1"):
        CpuLearner(SETTINGS, COUNTS, Tables.initial(WORDS, 20, 1), 0)
