"""The type checks of the client are complete. `make check` runs them: pyright reads tests/type_checks."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from shoal.client import AsyncClient, Client
from support.source_tree import ROOT, parsed

RIGHT = ROOT / "tests/type_checks/right_calls.py"
WRONG = ROOT / "tests/type_checks/wrong_calls.py"


def statements(tree: ast.Module) -> list[ast.stmt]:
    """What the functions of a file consist of; a `with` stands for its body."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [statement for function in functions for statement in function.body]


def test_every_wrong_call_names_the_rule_that_it_breaks() -> None:
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    found = statements(parsed(WRONG))
    rules = [re.search(r"# pyright: ignore\[(report\w+)\]$", lines[statement.lineno - 1]) for statement in found]
    assert [lines[one.lineno - 1] for one, rule in zip(found, rules, strict=True) if rule is None] == []
    assert len(found) > 80


def test_pyright_reports_a_wrong_call_that_it_accepts() -> None:
    assert "# pyright: standard, reportUnnecessaryTypeIgnoreComment=true\n" in WRONG.read_text(encoding="utf-8")


def test_the_right_calls_are_read_strictly_and_without_exception() -> None:
    text = RIGHT.read_text(encoding="utf-8")
    assert "# pyright: strict\n" in text and "ignore" not in text


@pytest.mark.parametrize("path", [RIGHT, WRONG], ids=["right", "wrong"])
@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_every_method_is_called(client: type, path: object) -> None:
    tree = parsed(RIGHT if path == RIGHT else WRONG)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    kind = ast.AsyncFunctionDef if client is AsyncClient else ast.FunctionDef
    called = {
        node.func.attr
        for function in functions
        if isinstance(function, kind)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    public = {name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}
    assert public - called - {"close"} == set()
