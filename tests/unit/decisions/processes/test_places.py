"""Which model gives its place: the one idle longest, never one that is needed; and a refusal says who holds the places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.cluster.decisions.processes.places import Moves, Tenant, held_by, make_room
from support.scenarios import Command, parse_command

drawn = st.builds(
    Tenant,
    st.just(""),
    placed=st.integers(0, 2),
    waiting=st.integers(0, 2),
    collection=st.booleans(),
    callers=st.integers(0, 2),
    busy=st.booleans(),
    served=st.booleans(),
    used_s=st.integers(0, 5).map(float),
    granted=st.sampled_from([False, False, False, True]),
)
crowds = st.lists(drawn, max_size=9).map(lambda found: [replace(one, model=f"m{i}") for i, one in enumerate(found)])


def pressing(one: Tenant) -> bool:
    return one.claims and (one.collection or one.callers > 0)


def spare(one: Tenant) -> bool:
    return one.placed > 0 and not (one.collection or one.callers or one.busy or one.granted)


@settings(max_examples=2000, deadline=None)
@given(crowds, st.integers(0, 4))
def test_any_crowd(tenants: list[Tenant], leaving: int) -> None:
    by_name = {one.model: one for one in tenants}
    moves = make_room(tenants, leaving)
    claims, gives = [claim for claim, _ in moves.evict], [gives for _, gives in moves.evict]
    # Whoever is needed keeps its place, and nobody gives twice or takes twice.
    assert all(spare(by_name[one]) for one in gives) and len(set(gives)) == len(gives)
    assert len({*claims, *moves.refused}) == len(claims) + len(moves.refused)
    assert all(pressing(by_name[one]) and not by_name[one].granted for one in (*claims, *moves.refused))
    # Never more than needed: places that become free anyway are counted, those for others are not.
    open_claims = [one for one in tenants if pressing(one) and not one.granted]
    free = max(0, leaving - sum(one.claims and one.granted for one in tenants))
    assert len(claims) <= max(0, len(open_claims) - free)
    # A refusal only when nothing is left to give.
    if moves.refused:
        assert set(gives) == {one.model for one in tenants if spare(one)}
        assert set(moves.refused.values()) == {held_by(tenants, dict(zip(gives, claims, strict=True)))}
    # Idle longest first; what never was ready before what was.
    rest = [one for one in tenants if spare(one) and one.model not in gives]
    order = [(by_name[one].served, by_name[one].used_s) for one in gives]
    assert order == sorted(order) and all(order[-1] <= (one.served, one.used_s) for one in rest if order)
    # A collection is refused only if no other model takes a place.
    if any(by_name[one].collection for one in moves.refused):
        assert all(by_name[one].collection for one in claims)
    # Nobody who is waited for is withdrawn, and nobody at all if nothing presses.
    waits = {one.model for one in tenants if one.claims and not pressing(one)}
    assert set(moves.withdraw) == (waits if any(map(pressing, tenants)) else set())


@settings(max_examples=1000, deadline=None)
@given(crowds, st.integers(0, 3))
def test_everybody_pressing_is_answered(tenants: list[Tenant], leaving: int) -> None:
    """Each claim is granted, gets a place that becomes free, takes one, or is refused: none waits for nothing."""
    moves = make_room(tenants, leaving)
    claims = [one for one in tenants if pressing(one)]
    answered = {claim for claim, _ in moves.evict} | set(moves.refused) | {one.model for one in claims if one.granted}
    extra = sum(one.placed - 1 for one in tenants if one.model in {gives for _, gives in moves.evict})
    assert len([one for one in claims if one.model not in answered]) <= leaving + extra


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=60), st.integers(1, 6))
def test_one_after_the_other_each_model_gets_a_place(asked: list[int], places: int) -> None:
    """Models that are used in turn and then idle: each call gets a place, from the model that was used least recently."""
    used: dict[str, float] = {}
    for now_s, number in enumerate(asked, start=1):
        model = f"m{number}"
        if model not in used:
            tenants = [Tenant(one, placed=1, served=True, used_s=at_s) for one, at_s in used.items()]
            if len(used) == places:
                oldest = min(used, key=lambda one: used[one])
                moves = make_room([*tenants, Tenant(model, waiting=1, callers=1, used_s=float(now_s))], 0)
                assert (moves.evict, moves.refused) == (((model, oldest),), {})
                del used[oldest]
        used[model] = float(now_s)


@pytest.mark.parametrize(
    ("tenants", "said"),
    [
        ([], ""),
        ([Tenant("a", placed=1, busy=True)], "held by 'a' (busy)"),
        (
            [Tenant(name, placed=1, collection=name > "b", busy=True) for name in "abcde"],
            "held by 'c' (of a collection), 'd' (of a collection), 'e' (of a collection) and 2 more",
        ),
        ([Tenant("a", placed=1, callers=1), Tenant("b", waiting=1)], "held by 'a' (being loaded)"),
    ],
)
def test_who_holds_the_places(tenants: list[Tenant], said: str) -> None:
    assert held_by(tenants, {}) == said


def test_who_has_a_place_or_no_replica_claims_none() -> None:
    tenants = [
        Tenant("a", collection=True, callers=1),
        Tenant("b", placed=1, waiting=1, callers=1),
        Tenant("c", placed=1),
    ]
    assert make_room(tenants, 0) == Moves()


def test_scenarios(run_scenario: Callable[[Path, Callable[[Command], str]], None]) -> None:
    def tenant(line: str) -> Tenant:
        one = parse_command(line)
        return Tenant(
            one.name,
            placed=one.integer("placed", 0),
            waiting=one.integer("waiting", 0),
            collection="collection" in one.words,
            callers=one.integer("callers", 0),
            busy="busy" in one.words,
            served="new" not in one.words,
            used_s=one.number("used", 0.0),
            granted="granted" in one.words,
        )

    def answer(command: Command) -> str:
        moves = make_room([tenant(line) for line in command.lines], command.integer("leaving", 0))
        lines = [f"{gives} gives its place to {claim}" for claim, gives in moves.evict]
        lines += [f"{model} is withdrawn" for model in moves.withdraw]
        lines += [f"{model} is refused: {reason}" for model, reason in moves.refused.items()]
        return "\n".join(lines)

    run_scenario(Path(__file__).parent / "scenarios" / "places.txt", answer)
