"""Each span counts once per epoch, whichever learner dies, and the learning rate follows the words of all learners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.workers.training.word2vec.run.schedule import (
    ALONE_ROUND_WORDS,
    EARLY_SHARE,
    EpochSpan,
    Schedule,
    ScheduleState,
    SpanLease,
    worthwhile_learners,
)
from shoal.workers.training.word2vec.settings import Word2VecSettings

# By span, in epoch 1 of a training with seed 5: trainings of an earlier version must resume with the same random numbers.
SEEDS = {2: 2485442970020027996, 3: 326124782927953987}
SPANS = st.lists(st.integers(1, 70), min_size=1, max_size=30)


def trained_alone(schedule: Schedule) -> list[SpanLease]:
    """The leases of one learner, from the first to the last."""
    state, leases = ScheduleState(), []
    while not schedule.finished(state):
        state, given = schedule.lease(state, [0])
        leases.append(given[0])
        state = schedule.merged(state, {0})
    return leases


@settings(max_examples=1000, deadline=None)
@given(SPANS, st.integers(1, 4), st.integers(1, 200), st.data())
def test_each_span_counts_once_per_epoch_whoever_is_lost(
    spans: list[int], epochs: int, round_words: int, data: st.DataObject
) -> None:
    chosen = Word2VecSettings(epochs=epochs)
    schedule = Schedule(chosen, spans, round_words)
    state, learners, newest, fruitless = ScheduleState(), [0, 1, 2], 2, 0
    counted: Counter[int] = Counter()
    holding: dict[int, list[int]] = {}
    while not schedule.finished(state):
        state, leases = schedule.lease(state, learners)
        for learner, lease in leases.items():
            assert lease.words == sum(spans[span] for span in lease.spans)
            assert chosen.min_learning_rate <= lease.last_rate <= lease.first_rate <= chosen.first_rate
            holding.setdefault(learner, []).extend(lease.spans)
        survivors = [learner for learner in learners if fruitless > 3 or data.draw(st.integers(0, 3))]
        if data.draw(st.booleans()) or schedule.all_leased(state):
            state = schedule.merged(state, survivors)
            for learner in survivors:
                counted.update(holding.get(learner, []))
            holding.clear()
            assert state.done == sum(spans[span] * times for span, times in counted.items())
            assert ScheduleState.from_json(state.to_json()) == state
        else:
            gone = set(learners) - set(survivors)
            state = schedule.lost(state, gone)
            for learner in gone:
                holding.pop(learner, None)
            if state.held:
                with pytest.raises(ValueError):
                    state.to_json()
        fruitless = 0 if survivors else fruitless + 1
        # New learners get new ids.
        joining = max(data.draw(st.integers(0, 2)), 0 if survivors else 1)
        learners = survivors + list(range(newest + 1, newest + 1 + joining))
        newest += joining
    assert counted == dict.fromkeys(range(len(spans)), epochs)
    assert state.done == schedule.total_words == sum(spans) * epochs


@settings(max_examples=300, deadline=None)
@given(SPANS, st.integers(1, 5), st.integers(1, 300))
def test_one_learner_sees_each_epoch_whole_and_rates_without_jumps(spans: list[int], epochs: int, round_words: int) -> None:
    chosen = Word2VecSettings(epochs=epochs)
    leases = trained_alone(Schedule(chosen, spans, round_words))
    order = [span for lease in leases for span in lease.spans]
    for epoch in range(epochs):
        assert sorted(order[epoch * len(spans) : (epoch + 1) * len(spans)]) == list(range(len(spans)))
    assert leases[0].first_rate == chosen.first_rate
    assert leases[-1].last_rate == pytest.approx(chosen.min_learning_rate)
    for before, after in pairwise(leases):
        assert after.first_rate == before.last_rate
    assert len({lease.seed for lease in leases}) == len(leases)


def rounds(schedule: Schedule, learners: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """The words that were trained before each round, and those of its leases."""
    state = ScheduleState()
    while not schedule.finished(state):
        before = schedule.trained(state)
        state, leases = schedule.lease(state, learners)
        yield before, [leases[learner].words for learner in learners if learner in leases]
        state = schedule.merged(state, learners)


def test_a_lease_has_about_the_words_of_a_round_and_the_last_round_is_divided_evenly() -> None:
    *most, (_, last) = rounds(Schedule(Word2VecSettings(epochs=1), [10] * 1003, 100), [3, 5, 8])
    late = [sizes for before, sizes in most if before * EARLY_SHARE / 3 >= 300]
    assert len(late) > 10 and all(sizes == [100, 100, 100] for sizes in late)
    assert len(last) > 1 and max(last) - min(last) <= 10


def test_a_span_belongs_to_the_learner_whose_share_holds_its_middle() -> None:
    schedule = Schedule(Word2VecSettings(epochs=1), [10] * 1000, 25)
    late = ScheduleState(epochs=1, done=9000, queue=tuple(EpochSpan(0, span) for span in range(900, 1000)))
    _, leases = schedule.lease(late, [4, 7])
    # The third span begins at 20 of 25, and its middle is at 25.
    assert {learner: lease.spans for learner, lease in leases.items()} == {4: (900, 901), 7: (902, 903, 904)}


def test_an_epoch_is_queued_only_when_the_one_before_is_leased() -> None:
    state, _ = Schedule(Word2VecSettings(epochs=3), [10] * 4, 40).lease(ScheduleState(), [0])
    assert (state.epochs, state.queue) == (1, ())


def test_the_first_merges_are_more_frequent() -> None:
    early = [
        (before, sizes)
        for before, sizes in rounds(Schedule(Word2VecSettings(epochs=1), [10] * 1000, 100), [0, 1])
        if before * EARLY_SHARE / 2 < 200
    ]
    assert early[0] == (0, [10, 10])
    # A round may be longer by half a span for each of them.
    assert all(sum(sizes) <= max(20, before * EARLY_SHARE / 2 + 10) for before, sizes in early)
    assert max(max(sizes) for _, sizes in early) > 50


def test_no_learner_waits_at_the_end_of_an_epoch() -> None:
    late = [sizes for before, sizes in rounds(Schedule(Word2VecSettings(epochs=20), [10] * 15, 100), [0]) if before > 1000]
    assert all(sizes == [100] for sizes in late[:-1])


def test_no_round_is_longer_than_an_epoch() -> None:
    sizes = [sizes for _, sizes in rounds(Schedule(Word2VecSettings(epochs=50), [10] * 4, 100_000), [0, 1])]
    assert max(map(sum, sizes)) == 40


def test_spans_lost_since_the_last_full_merge_are_trained_first() -> None:
    schedule = Schedule(Word2VecSettings(epochs=1), [10] * 400, 100)
    begin = ScheduleState(epochs=1, done=2000, queue=tuple(EpochSpan(0, span) for span in range(200, 400)))
    first, _ = schedule.lease(begin, [0, 1])
    second, _ = schedule.lease(first, [0, 1])
    assert schedule.trained(second) == 2400 and second.done == 2000
    state = schedule.lost(second, [1])
    assert state.queue[:20] == second.held[1] == first.held[1] + second.held[1][10:]
    assert schedule.trained(state) == 2200
    state = schedule.merged(second, {0})
    assert state.done == 2200 and state.queue[:20] == second.held[1] and not state.held


def test_epochs_differ_and_seeds_decide_them() -> None:
    def orders(seed: int) -> list[tuple[EpochSpan, ...]]:
        schedule = Schedule(Word2VecSettings(epochs=2, seed=seed), [1] * 50, 1000)
        state, orders = ScheduleState(), []
        for _ in range(2):
            state, leases = schedule.lease(state, [0])
            orders.append(state.held[0])
            state = schedule.merged(state, leases)
        return orders

    one, two = orders(1)
    assert [span.span_index for span in one] != [span.span_index for span in two]
    assert orders(1) == [one, two] != orders(2)


def test_rounds_of_several_learners_grow_to_their_limit() -> None:
    schedule = Schedule(Word2VecSettings(epochs=5), [50_000] * 2000, 0)
    state, sizes = ScheduleState(), []
    for _ in range(100):
        state, leases = schedule.lease(state, [0, 1, 2, 3])
        assert len(leases) == 4
        sizes.append(max(lease.words for lease in leases.values()))
        state = schedule.merged(state, [0, 1, 2, 3])
    assert sizes[0] == 50_000 and max(sizes) == sizes[-1] == 2_000_000
    assert all(after >= before for before, after in pairwise(sizes))
    trained = 0
    for size in sizes:
        assert size == 50_000 or size * 4 <= 0.1 * trained + 4 * 50_000
        trained += 4 * size
    _, alone = schedule.lease(ScheduleState(), [0])
    assert alone[0].words == ALONE_ROUND_WORDS
    _, many = schedule.lease(state, range(8))
    assert {lease.words for lease in many.values()} == {250_000}


@pytest.mark.parametrize(("words", "learners"), [(1, 1), (19_999_999, 1), (20_000_000, 2), (85_000_000, 8)])
def test_each_learner_should_have_ten_million_words(words: int, learners: int) -> None:
    assert worthwhile_learners(words) == learners


def test_the_words_of_a_lease_are_weighted_with_its_mean_rate() -> None:
    assert SpanLease((0, 1), 100, first_rate=0.03, last_rate=0.01, seed=0).lr_words == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("learners", "words"), [(3, 2_000_000), (4, 2_000_000), (5, 1_024_000), (8, 250_000), (10, 128_000), (16, 31_250)]
)
def test_without_a_setting_leases_shrink_with_the_cube_of_the_learners(learners: int, words: int) -> None:
    schedule = Schedule(Word2VecSettings(epochs=1), [250] * 450_000, 0)
    late = ScheduleState(epochs=1, done=100_000_000, queue=tuple(EpochSpan(0, span) for span in range(400_000, 450_000)))
    _, leases = schedule.lease(late, range(learners))
    assert {lease.words for lease in leases.values()} == {words}


def test_rounds_are_counted_and_the_seed_of_a_lease_follows_from_its_first_span() -> None:
    schedule = Schedule(Word2VecSettings(epochs=2, seed=5), [10] * 4, 20)
    state = ScheduleState(epochs=2, done=40, queue=tuple(EpochSpan(1, span) for span in (2, 0, 3, 1)))
    for number, seed in ((1, SEEDS[2]), (2, SEEDS[3])):
        state, leases = schedule.lease(state, [7])
        assert (state.rounds, leases[7].seed) == (number, seed)
        state = schedule.merged(state, [7])
