"""What `shoal serve` prints while something is wrong with its cluster."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from shoal.cluster.serve import commands
from shoal.cluster.serve.commands import _ClusterThread
from shoal.cluster.settings import ServeSettings

GONE, FULL = "ledger: its file was deleted", "storage: its disk is full"


class FailingCluster:
    """Has the next problems each time it is asked, and stops `serve` after the last."""

    def __init__(self, stopped: threading.Event, *problems: list[str]) -> None:
        self._stopped = stopped
        self._problems = list(problems)

    def problems(self) -> list[str]:
        found = self._problems.pop(0)
        if not self._problems:
            self._stopped.set()
        return found


def report(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    monkeypatch.setattr(commands, "PROBLEMS_EVERY_S", 0.001)
    stopped = threading.Event()
    cluster: Any = FailingCluster(stopped, [], [GONE], [GONE], [GONE, FULL], [FULL], [])
    _ClusterThread(ServeSettings(), stopped, as_json)._report_problems(cluster)


def test_each_problem_is_printed_once_and_again_when_it_is_solved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report(monkeypatch, as_json=False)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"shoal: {GONE}", f"shoal: {FULL}", f"Solved: {GONE}", f"Solved: {FULL}"]
    assert printed.out == ""


def test_a_script_gets_all_problems_after_each_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report(monkeypatch, as_json=True)
    assert capsys.readouterr().out.splitlines() == [
        f'{{"event": "problems", "problems": {problems}}}'
        for problems in (f'["{GONE}"]', f'["{GONE}", "{FULL}"]', f'["{FULL}"]', "[]")
    ]
