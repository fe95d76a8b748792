"""The part of gpu_check.py that runs the CUDA tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MARK = "mark.cuda"


class Outcomes:
    """A pytest plugin that keeps how each test ended."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self.skipped.append(f"{report.nodeid}{' (cuda)' if 'cuda' in report.keywords else ''}")
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def test_files(root: Path) -> Iterator[Path]:
    """The files with a test that is marked `cuda`."""
    return (path for path in sorted((root / "tests").rglob("test_*.py")) if MARK in path.read_text(encoding="utf-8"))


def run_tests(root: Path, quick: bool) -> dict[str, Any]:
    """Runs the files whole, without Shoal's conftest, which is for tests that start clusters; with `quick` one of them."""
    outcomes = Outcomes()
    files = [str(path) for path in test_files(root)][-1 if quick else 0 :]
    if not files:
        return {"name": "tests", "note": f"no file under {root / 'tests'} has a test marked {MARK}", "ok": False}
    # Warnings are errors in Shoal's own environment alone; a GPU machine brings other versions.
    options = ["--rootdir", str(root), "-c", str(root / "pyproject.toml"), "--noconftest", "-p", "no:cacheprovider"]
    code = pytest.main([*options, "-o", "addopts=", "-o", "filterwarnings=default", "-q", *files], plugins=[outcomes])
    left_out = [name for name in outcomes.skipped if name.endswith("(cuda)")]
    note = f"{outcomes.passed} passed, {len(outcomes.failed)} failed, {len(outcomes.skipped)} skipped"
    note += "".join(f"; failed: {name}" for name in outcomes.failed[:5])
    if left_out and not quick:
        note += f"; {len(left_out)} tests for CUDA did not run, such as {left_out[0]}"
    ok = code == 0 and outcomes.passed > 0 and (quick or not left_out)
    found = {"passed": outcomes.passed, "failed": outcomes.failed, "skipped": outcomes.skipped}
    return {"name": f"tests, {len(files)} files", "note": note, "ok": ok, **found}
