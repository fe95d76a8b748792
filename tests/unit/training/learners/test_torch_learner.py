"""The torch learner on the CPU, and on a CUDA device where there is one: it learns, and keeps tables and their base as
every learner does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import shoal.workers.training.word2vec.learners.torch_learner as torch_learner  # noqa: E402
from shoal.workers.training.word2vec.errors import TrainingError  # noqa: E402
from shoal.workers.training.word2vec.learner import SENTENCE_END, Ids, ModelDelta, TableDelta, TrainResult  # noqa: E402
from shoal.workers.training.word2vec.learners.torch_learner import TorchLearner, fitting_batch, pieces, word_bytes  # noqa: E402
from shoal.workers.training.word2vec.learners.torch_step import skip_gram_step  # noqa: E402
from shoal.workers.training.word2vec.learners.training_device import missing_cuda  # noqa: E402
from shoal.workers.training.word2vec.settings import Word2VecSettings  # noqa: E402
from shoal.workers.training.word2vec.tables import Floats, Tables  # noqa: E402

TOPICS, TOPIC_WORDS, DIM = 6, 12, 20
WORDS = TOPICS * TOPIC_WORDS
NO_CUDA = pytest.mark.skipif(bool(missing_cuda()), reason=missing_cuda())
CUDA = pytest.param("cuda", marks=[pytest.mark.cuda, NO_CUDA])


def sentences(count: int) -> Ids:
    """Sentences of 12 words, each of one topic, whose words are i, i + TOPICS, i + 2 · TOPICS and so on."""
    draw = np.random.default_rng(7)
    topics = draw.integers(0, TOPICS, count)
    words = draw.integers(0, TOPIC_WORDS, (count, 12)) * TOPICS + topics[:, None]
    return np.column_stack([words, np.full(count, SENTENCE_END)]).ravel().astype(np.int32)


TEXT = sentences(600)


def learner_of(*, device: str = "cpu", batch_words: int = 256, **settings: Any) -> TorchLearner:
    chosen = Word2VecSettings(dim=DIM, sample=0, **settings)
    counts = np.bincount(TEXT[TEXT >= 0], minlength=WORDS).astype(np.int64)
    tables = Tables.initial(WORDS, DIM, seed=3)
    learner = TorchLearner(chosen, counts, tables, device=device, batch_words=batch_words)
    learner.track()
    return learner


def closeness(tables: Tables) -> float:
    """How much the mean cosine of words within a topic exceeds that across topics."""
    vectors = tables.vectors() / np.linalg.norm(tables.vectors(), axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    same = np.arange(WORDS)[:, None] % TOPICS == np.arange(WORDS) % TOPICS
    return float(cosines[same & ~np.eye(WORDS, dtype=bool)].mean() - cosines[~same].mean())


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("cbow", [False, True])
def test_it_learns_which_words_belong_together(cbow: bool, device: str) -> None:
    learner = learner_of(device=device, cbow=cbow)
    assert abs(closeness(learner.tables())) < 0.1
    done = [learner.train(TEXT, 0.05, 0.05, seed) for seed in range(20)]
    assert done[-1].loss / done[-1].pairs < 0.95 * done[0].loss / done[0].pairs
    assert closeness(learner.tables()) > 0.5
    assert done[0].words == np.count_nonzero(TEXT >= 0)


def test_the_first_loss_is_that_of_tables_that_know_nothing() -> None:
    done = learner_of(negative=4).train(TEXT[:130], 1e-6, 1e-6, 1)
    # Each pair's loss is log 2 as long as all output rows are 0; some of the four negatives are the word itself.
    assert 4.5 * np.log(2) < done.loss / done.pairs < 5 * np.log(2)


def test_a_seed_gives_the_same_floats() -> None:
    one, same, other = learner_of(), learner_of(), learner_of()
    for learner, seed in ((one, 1), (same, 1), (other, 2)):
        learner.train(TEXT, 0.05, 0.01, seed)
    assert np.array_equal(one.tables().input, same.tables().input)
    assert np.array_equal(one.tables().output, same.tables().output)
    assert not np.array_equal(one.tables().input, other.tables().input)


def test_padding_stays_zero() -> None:
    learner = learner_of()
    learner.train(TEXT, 0.05, 0.05, 1)
    tables = learner.tables()
    assert tables.input.shape[1] > DIM
    assert not tables.input[:, DIM:].any() and not tables.output[:, DIM:].any()
    assert tables.output[:, :DIM].all()


@pytest.mark.parametrize("ids", [[], [SENTENCE_END], [3, SENTENCE_END]])
def test_a_text_without_pairs_changes_nothing(ids: list[int]) -> None:
    learner = learner_of()
    done = learner.train(np.array(ids, dtype=np.int32), 0.05, 0.05, 1)
    assert done == TrainResult(sum(word >= 0 for word in ids), 0.0, 0)
    change = learner.delta(WORDS)
    assert len(change.input.rows) == len(change.output.rows) == 0


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_change_is_what_was_trained_and_applying_it_takes_it_over(device: str) -> None:
    learner = learner_of(device=device)
    before = learner.tables()
    # Words of the first two topics alone, without negatives that could be others: only these input rows change.
    learner.train(TEXT[(TEXT % TOPICS < 2) | (TEXT < 0)], 0.05, 0.05, 1)
    after, change = learner.tables(), learner.delta(WORDS)
    assert change.input.rows.dtype == np.int32 and change.input.values.dtype == np.float32
    assert change.input.rows.tolist() == [word for word in range(WORDS) if word % TOPICS < 2]
    np.testing.assert_array_equal(change.input.values, (after.input - before.input)[change.input.rows])

    merged = ModelDelta(
        TableDelta(np.array([0, 5], np.int32), np.full((2, before.input.shape[1]), 0.5, np.float32)),
        TableDelta(np.array([3], np.int32), np.full((1, before.input.shape[1]), 0.25, np.float32)),
    )
    learner.apply(10, merged)
    agreed = learner.tables()
    expected_input, expected_output = before.input.copy(), before.output.copy()
    expected_input[[0, 5]] += np.float32(0.5)
    expected_output[3] += np.float32(0.25)
    np.testing.assert_array_equal(agreed.input[:10], expected_input[:10])
    np.testing.assert_array_equal(agreed.output[:10], expected_output[:10])
    for some, table in zip(learner.rows(slice(0, 10, 3)), (agreed.input, agreed.output), strict=True):
        np.testing.assert_array_equal(some, table[0:10:3])
    # Of the base, so without the changes that are not merged yet.
    for some, table in zip(learner.base_rows(np.array([0, 3, 11])), (expected_input, expected_output), strict=True):
        np.testing.assert_array_equal(some, table[[0, 3, 11]])
    # Changes beyond the merged rows are kept and reported later.
    np.testing.assert_array_equal(agreed.input[10:], after.input[10:])
    later = learner.delta(WORDS)
    assert later.input.rows.tolist() == [row for row in change.input.rows if row >= 10]
    assert len(learner.delta(10).input.rows) == 0


def test_changes_are_found_in_all_parts_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of()
    learner.train(TEXT, 0.05, 0.05, 1)
    whole = learner.delta(WORDS - 1)
    monkeypatch.setattr(torch_learner, "COMPARED_ROWS", 10)
    parts = learner.delta(WORDS - 1)
    assert whole.input.rows.tolist() == parts.input.rows.tolist() == list(range(WORDS - 1))
    np.testing.assert_array_equal(whole.output.values, parts.output.values)


def test_loading_copies_and_all_agree() -> None:
    learner = learner_of()
    learner.train(TEXT, 0.05, 0.05, 1)
    given = Tables.initial(WORDS, DIM, seed=9)
    learner.load(given)
    kept = given.input.copy()
    given.input[:] = 7
    np.testing.assert_array_equal(learner.tables().input, kept)
    assert len(learner.delta(WORDS).input.rows) == 0


def test_read_only_tables_and_texts_are_taken() -> None:
    given = Tables.initial(WORDS, DIM, seed=9)
    ids = TEXT.copy()
    for array in (given.input, given.output, ids):
        array.flags.writeable = False
    learner = learner_of()
    learner.load(given)
    learner.train(ids, 0.05, 0.05, 1)
    assert len(learner.delta(WORDS).input.rows) == WORDS


def test_numbers_that_are_not_finite_are_reported() -> None:
    learner = learner_of(learning_rate=2.5)
    tables = learner.tables()
    tables.input[4, 2] = np.inf
    learner.load(tables)
    learner.train(TEXT, 2.5, 2.5, 1)
    with pytest.raises(TrainingError, match=r"^the training diverged: learning_rate 2\.5 is too high$"):
        learner.delta(WORDS)


def test_an_id_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(TrainingError, match=f"the text has ids -1 to {WORDS}, must be between -1 and {WORDS - 1}"):
        learner_of().train(np.array([0, WORDS, SENTENCE_END], dtype=np.int32), 0.05, 0.05, 1)


def short_of_memory(limit: int) -> Callable[..., Any]:
    """A step on a device on which no batch of more than `limit` words fits."""

    def step(input: Any, output: Any, batch: Any, most: float) -> Any:
        if len(batch) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return skip_gram_step(input, output, batch, most)

    return step


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    small = learner_of(batch_words=128)
    small.train(TEXT, 0.05, 0.01, 1)
    monkeypatch.setattr(torch_learner, "skip_gram_step", short_of_memory(200))
    halved = learner_of(batch_words=512)
    halved.train(TEXT, 0.05, 0.01, 1)
    assert halved.batch_words == 128
    np.testing.assert_array_equal(halved.tables().input, small.tables().input)


def test_a_batch_is_as_large_as_corpus_and_memory_allow() -> None:
    plenty = 1 << 40
    sizes = [fitting_batch(words, 10_000, plenty) for words in (0, 100_000, 1_100_000, 16_999_999, 10**12)]
    assert sizes == [64, 64, 1024, 8192, 8192]
    assert fitting_batch(10**12, 10_000, free_bytes=50_000_000) == 2048
    assert fitting_batch(10**12, 10_000, free_bytes=0) == 64
    assert learner_of(batch_words=0).batch_words == 64


def test_memory_per_word_grows_with_its_pairs() -> None:
    # 10 rows of input and 6 of output, each twice: the row, and what it changes by.
    small = word_bytes(Word2VecSettings(window=5, negative=5), 112)
    assert 2 * 16 * 112 * 4 < small < word_bytes(Word2VecSettings(window=10, negative=5), 112)


def test_a_device_without_any_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_learner, "skip_gram_step", short_of_memory(0))
    with pytest.raises(TrainingError, match=r"^cpu has too little memory for 64 words at once: CUDA out of memory\.$"):
        learner_of().train(TEXT, 0.05, 0.05, 1)


def test_a_long_text_is_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_learner, "DRAWN_AT_ONCE", 600)
    learner, seen = learner_of(), list[float]()
    real = skip_gram_step

    def step(input: Any, output: Any, batch: Any, most: float) -> Any:
        seen.extend(batch.rates.tolist())
        return real(input, output, batch, most)

    monkeypatch.setattr(learner, "_step", step)
    assert learner.train(TEXT, 0.05, 0.01, 1).words == len(seen) == np.count_nonzero(TEXT >= 0)
    np.testing.assert_allclose(seen, 0.05 - 0.04 * np.flatnonzero(TEXT >= 0) / len(TEXT), rtol=1e-4)


def test_pieces_end_where_sentences_end() -> None:
    ids = np.array([1, 2, -1, 3, -1, 4, 5, 6, 7, 8, -1, 9], dtype=np.int32)
    assert list(pieces(ids, 4)) == [(0, 3), (3, 5), (5, 9), (9, 12)]
    assert list(pieces(ids, 2)) == [(0, 2), (2, 3), (3, 5), (5, 7), (7, 9), (9, 11), (11, 12)]
    assert list(pieces(ids, 100)) == [(0, 12)]
    assert list(pieces(ids[:0], 4)) == []


def test_exact_updates_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"^exact is True, must be False"):
        learner_of(exact=True)


@pytest.mark.skipif(not missing_cuda(), reason="there is a CUDA device")
def test_without_a_cuda_device_the_error_suggests_the_cpu() -> None:
    with pytest.raises(TrainingError, match=r"^device is 'cuda', but .*; use device 'cpu'$"):
        learner_of(device="cuda")


def flat(tables: Tables) -> Floats:
    return np.concatenate([tables.input, tables.output])


@pytest.mark.parametrize("device", [CUDA])
def test_cuda_trains_what_the_cpu_trains(device: str) -> None:
    """Random numbers differ between devices, so what is compared is one step on the same batch."""
    learner = learner_of(device="cpu")
    learner.train(TEXT, 0.05, 0.05, 1)
    batch = learner._sampler.batch(TEXT, (0.05, 0.05), 5, 5).part(0, 512)
    results: list[Floats] = []
    for target in ("cpu", device):
        tables = [torch.from_numpy(table.copy()).to(target) for table in (learner.tables().input, learner.tables().output)]
        moved = type(batch)(*(getattr(batch, field).to(target) for field in batch.__slots__))
        skip_gram_step(tables[0], tables[1], moved, 0.5).apply(tables[0], tables[1])
        results.append(np.concatenate([table.cpu().numpy() for table in tables]))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
