"""How many bytes of messages a process holds: bounds, fairness, and nobody forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.memory.byte_budget import BudgetLimits, ByteBudget, Verdict

ADMITTED, WAITING, REFUSED = Verdict.ADMITTED, Verdict.WAITING, Verdict.REFUSED
LIMITS = BudgetLimits(total=100, small=5, small_share=20, waiting=60)


class Model:
    """A budget, and what every caller was answered."""

    def __init__(self, limits: BudgetLimits = LIMITS) -> None:
        self.budget = ByteBudget(limits)
        self.sizes: dict[int, int] = {}
        self.held: set[int] = set()
        self.waiting: list[int] = []
        self.tickets = 0

    def ask(self, caller: str, size: int) -> tuple[int, Verdict]:
        self.tickets += 1
        ticket = self.tickets
        verdict = self.budget.ask(ticket, caller, size)
        if verdict is not REFUSED:
            self.sizes[ticket] = size
            self.held.add(ticket) if verdict is ADMITTED else self.waiting.append(ticket)
        self.check()
        return ticket, verdict

    def free(self, ticket: int) -> list[int]:
        self.held.discard(ticket)
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        return self.take(self.budget.free(ticket))

    def shrink(self, ticket: int, size: int) -> list[int]:
        self.sizes[ticket] = size
        return self.take(self.budget.shrink(ticket, size))

    def take(self, admitted: list[int]) -> list[int]:
        for ticket in admitted:
            self.waiting.remove(ticket)
            self.held.add(ticket)
        self.check()
        return admitted

    def check(self) -> None:
        budget, limits = self.budget, self.budget.limits
        assert budget.held == sum(self.sizes[ticket] for ticket in self.held)
        assert budget.waiting == sum(self.sizes[ticket] for ticket in self.waiting)
        assert min(budget.small_held, budget.large_held, budget.small_waiting, budget.large_waiting) >= 0
        largest = max((self.sizes[ticket] for ticket in self.held), default=0)
        # Only a message that is larger than the whole share goes beyond it, and then alone.
        assert budget.held <= limits.total or largest > limits.large_share
        assert budget.large_held <= max(limits.large_share, largest)
        largest_waiting = max((self.sizes[ticket] for ticket in self.waiting), default=0)
        assert budget.small_waiting <= max(limits.waiting, limits.small)
        assert budget.large_waiting <= max(limits.waiting, largest_waiting)


def test_messages_are_admitted_until_the_budget_is_used_up_and_then_wait() -> None:
    model = Model()
    first, verdict = model.ask("a", 40)
    assert verdict is ADMITTED
    assert model.ask("a", 40)[1] is ADMITTED
    third, verdict = model.ask("a", 10)
    assert verdict is WAITING
    assert model.free(first) == [third]


def test_too_many_waiting_bytes_are_refused() -> None:
    model = Model()
    model.ask("a", 80)
    assert model.ask("a", 30)[1] is WAITING
    assert model.ask("b", 30)[1] is WAITING
    assert model.ask("c", 10)[1] is REFUSED
    # Small messages have a bound of their own.
    assert model.ask("d", 5)[1] is ADMITTED


def test_a_message_larger_than_the_whole_budget_is_admitted_alone() -> None:
    model = Model(BudgetLimits(total=100, small=5, small_share=20, waiting=1000))
    one, _ = model.ask("a", 30)
    huge, verdict = model.ask("b", 500)
    assert verdict is WAITING
    after, _ = model.ask("c", 10)
    assert model.free(one) == [huge]
    assert model.free(huge) == [after]


def test_large_messages_leave_room_for_small_ones() -> None:
    model = Model()
    while model.ask("a", 20)[1] is ADMITTED:
        pass
    assert [model.ask("b", 5)[1] for _ in range(5)] == [ADMITTED, ADMITTED, ADMITTED, ADMITTED, WAITING]


def test_small_messages_make_way_for_a_large_one_that_waits() -> None:
    model = Model()
    small = [model.ask("a", 5)[0] for _ in range(20)]
    assert model.budget.held == 100
    large, verdict = model.ask("b", 30)
    assert verdict is WAITING
    waits, verdict = model.ask("a", 5)
    assert verdict is WAITING
    admitted = [one for ticket in small[:10] for one in model.free(ticket)]
    # Then there is room again for both kinds.
    assert admitted == [large, waits]


def test_the_caller_that_holds_least_is_next() -> None:
    model = Model()
    first, _ = model.ask("a", 40)
    model.ask("a", 40)
    of_a, _ = model.ask("a", 30)
    of_b, _ = model.ask("b", 30)
    assert model.free(first) == [of_b]
    assert of_a in model.waiting


def test_a_caller_that_gave_up_leaves_the_line() -> None:
    model = Model()
    one, _ = model.ask("a", 80)
    gone, _ = model.ask("b", 30)
    after, _ = model.ask("c", 30)
    assert model.free(gone) == []
    assert model.free(one) == [after]
    assert model.free(gone) == []


def test_a_reply_that_is_smaller_than_expected_gives_room_back() -> None:
    model = Model()
    one, _ = model.ask("a", 80)
    after, _ = model.ask("b", 50)
    assert model.shrink(one, 31) == []
    assert model.shrink(one, 30) == [after]
    with pytest.raises(ValueError, match="cannot shrink to 31"):
        model.budget.shrink(one, 31)


@pytest.mark.parametrize("fields", [{"small": 0}, {"small": 30}, {"small_share": 100}, {"waiting": -1}])
def test_limits_that_contradict_each_other_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        BudgetLimits(**{"total": 100, "small": 5, "small_share": 20, "waiting": 60, **fields})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abcd"), st.one_of(st.integers(0, 6), st.integers(0, 130))),
        st.tuples(st.sampled_from(["free", "cancel"]), st.integers(0, 1000), st.just(0)),
        st.tuples(st.just("shrink"), st.integers(0, 1000), st.integers(0, 100)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_callers_do_the_bounds_hold_and_nobody_is_forgotten(steps: list[tuple[str, str | int, int]]) -> None:
    model = Model()
    for action, which, amount in steps:
        if action == "ask":
            room = model.budget.small_held + amount <= LIMITS.small_share
            nobody_before = not model.budget.small_waiting
            _, verdict = model.ask(str(which), amount)
            if amount <= LIMITS.small and room and nobody_before:
                assert verdict is ADMITTED
            if model.budget.waiting + amount <= LIMITS.waiting:
                assert verdict is not REFUSED
        else:
            chosen = sorted(model.waiting if action == "cancel" else model.held)
            if not chosen:
                continue
            ticket = chosen[int(which) % len(chosen)]
            if action == "shrink":
                model.shrink(ticket, model.sizes[ticket] * amount // 100)
            else:
                model.free(ticket)
    # No deadlock: when those that are admitted end, all that wait are admitted, one after another.
    while model.held:
        model.free(min(model.held))
    assert not model.waiting and model.budget.held == model.budget.waiting == 0


@given(st.integers(1, 80), st.lists(st.tuples(st.sampled_from("bcd"), st.integers(6, 120)), max_size=20))
def test_a_large_message_is_admitted_after_those_before_it_whoever_comes_later(
    size: int, later: list[tuple[str, int]]
) -> None:
    model = Model()
    model.ask("x", 70)
    before = sorted(model.held)
    waiting, verdict = model.ask("a", size + 5)
    for caller, other in later:
        model.ask(caller, other)
    if verdict is ADMITTED:
        return
    for ticket in before:
        model.free(ticket)
    assert waiting in model.held
