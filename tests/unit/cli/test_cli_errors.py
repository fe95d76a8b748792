"""Every command fails in the same way: an exit code, and one line on stderr that begins with "shoal: "."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from shoal.client.cli import main
from shoal.client.cli.application import LazyCommand
from support.source_tree import PORTIONS, parsed, python_files, shown

FAILURE = "client/shoal/console/failure.py"


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call each command, of groups those of their commands."""
    if isinstance(command, LazyCommand):
        command = command.load()
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, (*path, name))


COMMANDS = sorted(leaves(main))


def test_the_commands_of_the_cluster_are_among_them() -> None:
    assert {("serve",), ("encode",), ("eval", "analogy"), ("similar",), ("train", "word2vec"), ("add",)} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_wrong_usage(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*command, "--nonsense"], prog_name="shoal")
    called = " ".join(("shoal", *command))
    assert (result.exit_code, result.stdout) == (2, "")
    usage, hint, blank, error = result.stderr.splitlines()
    assert usage.startswith(f"Usage: {called} ")
    assert (hint, blank) == (f"Try '{called} --help' for help.", "")
    assert error.startswith("shoal: No such option") and "--nonsense" in error


@pytest.mark.parametrize("group", [(), ("eval",), ("train",)], ids=lambda group: " ".join(("shoal", *group)))
def test_a_group_without_a_command_prints_its_help(group: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, group, prog_name="shoal")
    assert result.output.startswith(f"Usage: {' '.join(('shoal', *group))} ") and "Commands:" in result.output
    assert "shoal: " not in result.output.partition("Exit codes")[0]


def test_one_module_knows_the_form_of_an_error() -> None:
    """Commands raise Failure or call print_error; click's own exception would print "Error: "."""
    raised, written = set(), set()
    for path in python_files(*PORTIONS):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Raise) and node.exc is not None and "ClickException" in ast.dump(node.exc):
                raised.add(shown(path))
            if isinstance(node, ast.JoinedStr) and isinstance(first := node.values[0], ast.Constant):
                written |= {shown(path)} if str(first.value).startswith(("shoal: ", "Error: ")) else set()
    assert (raised, written) == (set(), {FAILURE})
