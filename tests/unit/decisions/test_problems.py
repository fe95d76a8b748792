"""What is wrong, from what was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.health.problems import (
    LEAST_FREE_BYTES,
    LEDGER,
    STORAGE,
    Observation,
    Problem,
    Volume,
    find_problems,
)

GONE, FAILED = "its file was deleted", "database or disk is full"
FULL = Volume("/data", free_bytes=LEAST_FREE_BYTES - 1)
IS_FULL = "the disk of /data is full: less than 16 MiB are free"

reasons = st.sampled_from(["", GONE, FAILED])
volumes = st.none() | st.builds(Volume, st.just("/data"), st.booleans(), st.booleans(), st.integers(0, 2 * LEAST_FREE_BYTES))
observations = st.builds(Observation, reasons, reasons, volumes, reasons, volumes)
earlier = st.lists(st.builds(Problem, st.sampled_from([LEDGER, STORAGE]), reasons, st.integers(0, 9)), max_size=2)


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (Observation(), []),
        (Observation(ledger_volume=Volume("/data"), storage_volume=Volume("/data/vectors")), []),
        (Observation(ledger_check=GONE), [(LEDGER, GONE)]),
        (Observation(ledger_write=FAILED), [(LEDGER, FAILED)]),
        (Observation(ledger_write=FAILED, ledger_volume=FULL), [(LEDGER, IS_FULL)]),
        (Observation(ledger_check=GONE, ledger_volume=Volume("/data", exists=False)), [(LEDGER, GONE)]),
        (Observation(ledger_volume=Volume("/data", read_only=True)), [(LEDGER, "the file system of /data is read-only")]),
        (Observation(storage_volume=Volume("/data", exists=False)), [(STORAGE, "folder /data does not exist")]),
        (Observation(storage_write=FAILED), [(STORAGE, FAILED)]),
        (Observation(ledger_volume=FULL, storage_volume=FULL), [(LEDGER, IS_FULL), (STORAGE, IS_FULL)]),
    ],
)
def test_each_observation_has_its_problems(seen: Observation, found: list[tuple[str, str]]) -> None:
    assert [(one.part, one.message) for one in find_problems(seen, [], 5)] == found


def test_a_problem_keeps_the_time_at_which_its_part_was_first_seen_with_one() -> None:
    first = find_problems(Observation(ledger_write=FAILED), [], 5)
    second = find_problems(Observation(ledger_check=GONE, storage_write=FAILED), first, 9)
    assert second == (Problem(LEDGER, GONE, 5), Problem(STORAGE, FAILED, 9))
    assert find_problems(Observation(ledger_check=GONE), find_problems(Observation(), second, 11), 12)[0].since_ms == 12


@given(observations, earlier)
def test_a_part_has_a_problem_exactly_when_something_of_it_failed(seen: Observation, before: list[Problem]) -> None:
    def healthy(volume: Volume | None) -> bool:
        return volume is None or (volume.exists and not volume.read_only and volume.free_bytes >= LEAST_FREE_BYTES)

    expected = []
    if seen.ledger_check or seen.ledger_write or not healthy(seen.ledger_volume):
        expected.append(LEDGER)
    if seen.storage_write or not healthy(seen.storage_volume):
        expected.append(STORAGE)
    found = find_problems(seen, before, 10)
    assert [problem.part for problem in found] == expected
    assert all(problem.message for problem in found)
