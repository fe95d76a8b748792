"""The tool behind `make mutants`."""

from __future__ import annotations

import ast

import pytest

import mutants
from mutants import Mutant

SOURCE = '''def least(a, b):
    """Not a < b."""
    if a is not None and a < b - 1:
        a += 200  # 1 + 1
    return a >= b
'''


def test_each_changed_token_is_a_mutant() -> None:
    found = mutants.mutants_of("least.py", SOURCE)
    assert [(one.line, one.old, one.new) for one in found] == [
        (3, "not", ""),
        (3, "and", "or"),
        (3, "<", "<="),
        (3, "-", "+"),
        (3, "1", "2"),
        (4, "+=", "-="),
        (5, ">=", ">"),
    ]


def test_a_mutant_changes_one_line_and_is_a_program() -> None:
    for one in mutants.mutants_of("least.py", SOURCE):
        changed = one.applied(SOURCE)
        ast.parse(changed)
        assert [i + 1 for i, (a, b) in enumerate(zip(SOURCE.split("\n"), changed.split("\n"), strict=True)) if a != b] == [
            one.line
        ]
    assert Mutant("least.py", 5, 13, ">=", ">").applied(SOURCE).endswith("return a > b\n")


@pytest.mark.parametrize("path", mutants.modules())
def test_each_changed_module_has_tests(path: str) -> None:
    assert mutants.tests_of(path)


@pytest.mark.parametrize("pattern", [*mutants.MODULES, *mutants.COVERED_BY])
def test_each_name_in_the_tables_exists(pattern: str) -> None:
    assert [path for path in mutants.modules() if (mutants.ROOT / path).match(pattern)]
