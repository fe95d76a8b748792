"""The runner of scenario files: accepted and refused files, and what a rewrite keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.scenarios import Command, parse_command, run_scenario

SCENARIO = """# A file may begin with a comment of its own.

# What is said is said back.
say hello to=you
----
hello to=you

add
1
2
----
3

quiet
----
"""


def answer(command: Command) -> str:
    match command.name:
        case "say":
            return f"{command.words[0]} to={command.text('to')}"
        case "add":
            return str(sum(map(int, command.lines)))
        case _:
            return ""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.txt"
    path.write_text(SCENARIO)
    return path


def test_the_expected_answers_pass(scenario: Path) -> None:
    assert run_scenario(scenario, answer) is False
    assert scenario.read_text() == SCENARIO


def test_another_answer_fails_with_a_diff(scenario: Path) -> None:
    scenario.write_text(SCENARIO.replace("3\n", "4\n"))
    with pytest.raises(AssertionError, match=r"-4\n\+3"):
        run_scenario(scenario, answer)


def test_an_answer_where_none_is_expected_fails(scenario: Path) -> None:
    with pytest.raises(AssertionError, match=r"\+loud"):
        run_scenario(scenario, lambda command: answer(command) or "loud")


def test_a_rewrite_changes_answers_alone(scenario: Path) -> None:
    scenario.write_text(SCENARIO.replace("3\n", "4\n").replace("hello to=you\n\n", "\n"))
    assert run_scenario(scenario, answer, rewrite=True) is True
    assert scenario.read_text() == SCENARIO
    assert run_scenario(scenario, answer, rewrite=True) is False


@pytest.mark.parametrize("text", ["", "# only a comment\n", "say hello\n", "say a\n# within\n----\na\n"])
def test_a_file_that_would_check_nothing_is_refused(scenario: Path, text: str) -> None:
    scenario.write_text(text)
    with pytest.raises(AssertionError):
        run_scenario(scenario, answer)


def test_arguments_are_read_by_type() -> None:
    command = parse_command("tick n=3 pause=0.5 forced")
    assert (command.integer("n"), command.number("pause"), command.words) == (3, 0.5, ("forced",))
    assert (command.integer("m", 7), command.text("how", "")) == (7, "")
    with pytest.raises(KeyError):
        command.integer("m")
