"""The style that CONTRIBUTING.md asks for, as far as a program can see it."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from support.source_tree import PORTIONS, ROOT, parsed, python_files, shown

LONGEST_FILE = 400
LONGEST_FUNCTION = 70
LARGEST_FOLDER = 16
EVERYTHING = (*PORTIONS, "tests", "benchmarks")
# Alembic calls these functions by name.
CALLED_BY_NAME = ROOT / "cluster/shoal/cluster/ledger/migrations"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_enough_files_are_checked() -> None:
    assert len(python_files(*PORTIONS)) > 250 and len(python_files("tests")) > 150


def test_files_are_short() -> None:
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(*EVERYTHING)}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    found = {}
    # A migration is a list of statements.
    for path in (path for path in python_files(*EVERYTHING) if not path.is_relative_to(CALLED_BY_NAME)):
        for function in functions(parsed(path)):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > LONGEST_FUNCTION:
                found[f"{shown(path)}:{function.name}"] = lines
    assert found == {}


def test_folders_are_small() -> None:
    counts = Counter(shown(path.parent) for path in python_files(*EVERYTHING))
    assert {folder: count for folder, count in counts.items() if count > LARGEST_FOLDER} == {}


def test_no_two_classes_of_the_product_share_a_name() -> None:
    locations = defaultdict(list)
    for path in python_files(*PORTIONS):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                locations[node.name].append(shown(path))
    # The client raises an error of the same name as the one that the cluster answered with.
    errors = {node.name for node in parsed(ROOT / "client/shoal/client/errors.py").body if isinstance(node, ast.ClassDef)}
    assert {name: paths for name, paths in locations.items() if len(paths) > 1 and name not in errors} == {}


def test_no_two_test_files_share_a_name() -> None:
    # pytest imports them by their base names.
    names = Counter(path.name for path in python_files("tests") if path.name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []


def test_package_fixtures_are_in_packages() -> None:
    # Elsewhere pytest keeps them until the end of the session.
    found = {shown(path) for path in python_files("tests") if _has_package_fixture(parsed(path))}
    assert found == {"tests/integration/ray_cluster/conftest.py"}
    assert [path for path in found if not (ROOT / path).with_name("__init__.py").exists()] == []


def _has_package_fixture(tree: ast.Module) -> bool:
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    return any(node.arg == "scope" and ast.unparse(node.value) == "'package'" for node in keywords)


def public_names(tree: ast.Module) -> Iterator[str]:
    """Functions, classes and constants at the top level."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            # A decorator that is called, as `@main.command()`, registers what it decorates.
            if not any(isinstance(decorator, ast.Call) and _registers(decorator) for decorator in node.decorator_list):
                yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _registers(decorator: ast.Call) -> bool:
    return isinstance(decorator.func, ast.Attribute) and decorator.func.attr in {"command", "group"}


def used_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.:]+", node.value):
            # `__all__`, `getattr` and the paths that are given to a monkeypatch or a Ray worker.
            yield re.split(r"[.:]", node.value)[-1]


def test_no_public_name_of_the_product_is_dead() -> None:
    used = {name for path in python_files(*EVERYTHING) for name in used_names(parsed(path))}
    texts = [ROOT / "pyproject.toml", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts += [path for portion in PORTIONS for path in (ROOT / portion).rglob("*.pyi") if "_pb2" not in path.name]
    used |= {word for path in texts for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    dead = {
        f"{shown(path)}:{name}"
        for path in python_files(*PORTIONS)
        if not path.is_relative_to(CALLED_BY_NAME)
        for name in public_names(parsed(path))
        if not name.startswith("_") and name not in used
    }
    assert dead == set()


@pytest.mark.parametrize("folder", ["unit", "conformance", "simulation", "integration", "chaos", "slow"])
def test_no_test_folder_imports_another(folder: str) -> None:
    """Code that several test folders use is in tests/support."""
    found = set()
    for path in python_files(f"tests/{folder}"):
        # The folders below unit and integration do not import each other either.
        parts = path.relative_to(ROOT / "tests").parts[:-1]
        for module in _imported(parsed(path)):
            top, *below = module.split(".")
            if top in _TEST_FOLDERS and (top, *below[: len(parts) - 1]) != parts:
                found.add(f"{shown(path)}: {module}")
    assert found == set()


@pytest.mark.parametrize("folder", ["unit", "conformance", "simulation"])
def test_tests_of_one_process_start_no_cluster(folder: str) -> None:
    """They neither have the mark of those that do nor use what starts one."""
    found = set()
    for path in python_files(f"tests/{folder}"):
        tree = parsed(path)
        if any(
            isinstance(node, ast.Attribute) and node.attr == "cluster" and _is_mark(node.value) for node in ast.walk(tree)
        ):
            found.add(f"{shown(path)}: pytest.mark.cluster")
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = {alias.name for node in imports for alias in node.names}
        found |= {f"{shown(path)}: {name}" for name in names & {"ClusterProcess", "EncodeProcess", "RayHead"}}
    assert found == set()


def _is_mark(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "mark"


_TEST_FOLDERS = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"support"}


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
