"""The minimum of a process's CPU affinity and the quotas of its control groups, version 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shoal.workers.runtime.cores import available_cores, threads_of


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def cores(root: Path, groups: str, files: dict[str, str]) -> int:
    (root / "groups").write_text(groups)
    for name, content in files.items():
        path = root / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return available_cores(root / "groups", root / "fs")


def test_without_a_quota_the_cores_it_is_bound_to_count(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "absent", tmp_path) == 8
    assert cores(tmp_path, "0::/user/job\n", {"user/job/cpu.max": "max 100000"}) == 8


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("3200000 100000", 8), ("?", 8)]
)
def test_a_quota_is_rounded_up(tmp_path: Path, quota: str, expected: int) -> None:
    assert cores(tmp_path, "0::/job\n", {"job/cpu.max": quota}) == expected


def test_the_tightest_group_decides(tmp_path: Path) -> None:
    files = {"user/job/cpu.max": "600000 100000", "user/cpu.max": "300000 100000"}
    assert cores(tmp_path, "0::/user/job\n", files) == 3


def test_a_container_sees_its_group_at_the_top(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/outside/of/here\n", {"cpu.max": "400000 100000"}) == 4


def test_version_one_has_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    groups = "5:memory:/job\n4:cpu,cpuacct:/job\n"
    one = {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "100000"}
    assert cores(tmp_path, groups, one) == 3
    assert cores(tmp_path, groups, {"cpu/job/cpu.cfs_quota_us": "-1"}) == 8


def test_cores_are_divided_unless_a_number_is_wanted() -> None:
    every = available_cores()
    assert threads_of(0) == every and threads_of(0, 2 * every) == 1
    assert threads_of(0, 2) == max(1, every // 2)
    assert threads_of(5, 2) == 5
