from __future__ import annotations

import json

import pytest

from shoal.console import BadRowReport, ProgressReporter, duration, print_event, print_table
from shoal.records import RejectedRow


class Clock:
    """The time that a reporter reads."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def advance(reporter: ProgressReporter, share: float, last: bool = False) -> None:
    reporter.advance("progress", {"share": share}, share, "fast", last)


def test_lines_come_at_most_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with ProgressReporter("encoding", as_json=False, clock=clock) as reporter:
        for share, now_s in ((0.1, 1000.0), (0.2, 1004.9), (0.3, 1005.0), (0.4, 1009.9)):
            clock.now_s = now_s
            advance(reporter, share)
        advance(reporter, 1.0, last=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == ("", [" 10%  fast", " 30%  fast", "100%  fast"])


def test_a_new_phase_is_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter("reading", as_json=False, clock=Clock()) as reporter:
        advance(reporter, 0.1)
        reporter.phase("training")
        advance(reporter, 0.2)
        advance(reporter, 0.3)
    assert capsys.readouterr().err.splitlines() == [" 10%  fast", " 20%  fast"]


def test_events_are_json_lines_with_rounded_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter("encoding", as_json=True, clock=Clock()) as reporter:
        print_event("started", {"rows": 3, "eta_s": None, "share": 1 / 3})
        advance(reporter, 2 / 3)
        advance(reporter, 0.7)
        reporter.message("a bad row")
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == [
        {"event": "started", "rows": 3, "eta_s": None, "share": 0.333333},
        {"event": "progress", "share": 0.666667},
    ]
    assert captured.err == "a bad row\n"


def test_on_a_terminal_messages_stand_above_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    with ProgressReporter("encoding", as_json=False, clock=Clock()) as reporter:
        advance(reporter, 0.5)
        reporter.message("[bold]a.csv:1: not markup")
    captured = capsys.readouterr()
    assert captured.out == "" and "\x1b[" in captured.err
    assert "[bold]a.csv:1: not markup" in captured.err and "encoding" in captured.err and " 50%" in captured.err


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00:00"), (59.9, "0:00:59"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_table_is_not_steered_by_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["word", "cosine"], [["[b]sea\x1b[2J", "0.5"], None, ["x" * 200, "0.25"]], text_columns=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["word", "cosine"], ["[b]sea[2J", "0.5"], [], ["x" * 200, "0.25"]]


def test_the_first_bad_rows_are_shown_and_all_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report = BadRowReport()
    for line in range(25):
        report.add(RejectedRow("a", line, "bad"))
    expected = [*(f"a:{line}: bad" for line in range(20)), "further bad rows are counted, not shown"]
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines(), report.count) == ("", expected, 25)
    shown: list[str] = []
    BadRowReport(shown.append).add(RejectedRow("a", 1, "bad"))
    assert shown == ["a:1: bad"] and capsys.readouterr().err == ""
