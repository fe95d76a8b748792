"""Changes one token of a deciding module at a time and lists the changes that no test notices: `make mutants`.

Works on copies of the tree, so the files of the checkout are never touched. A survivor either lacks a test or is
equivalent: the changed program does the same.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("protos", "workers", "cluster", "client", "tests")
MODULES = (
    "cluster/shoal/cluster/decisions/*.py",
    "cluster/shoal/cluster/decisions/health/*.py",
    "cluster/shoal/cluster/decisions/processes/*.py",
    "cluster/shoal/cluster/decisions/memory/*.py",
    "cluster/shoal/cluster/gateway/paths/coverage.py",
    "workers/shoal/workers/indexing/shard/*.py",
    "workers/shoal/workers/encoding/engine/scheduler.py",
    "workers/shoal/workers/encoding/engine/window.py",
    "workers/shoal/workers/training/word2vec/run/schedule.py",
    "workers/shoal/workers/training/word2vec/averaging/contraction.py",
)
TESTS = ("unit", "conformance", "simulation")
# Test files (name patterns) of a module. One that is not listed here has the file named after it.
COVERED_BY: dict[str, tuple[str, ...]] = {
    "coverage.py": ("test_gateway_coverage",),
    "delta.py": ("test_shard",),
    "draft.py": ("test_shard",),
    "liveness.py": ("test_liveness*",),
    "liveness_events.py": ("test_liveness*",),
    "schedule.py": ("test_schedule",),
    "sealed_part.py": ("test_shard", "test_index_files"),
    "shard.py": ("test_shard", "test_shard_host"),
    "window.py": ("test_scheduler*",),
}
PAIRS = (("<", "<="), (">", ">="), ("==", "!="), ("and", "or"), ("+", "-"), ("+=", "-="))
SWAPS = {old: new for one, other in PAIRS for old, new in ((one, other), (other, one))} | {"not": ""}
LARGEST_CONSTANT = 10


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed token of one file."""

    path: str
    """Relative to the root."""
    line: int
    column: int
    old: str
    new: str

    def applied(self, source: str) -> str:
        """The source of the file with the change."""
        lines = source.splitlines(keepends=True)
        text = lines[self.line - 1]
        lines[self.line - 1] = text[: self.column] + self.new + text[self.column + len(self.old) :]
        return "".join(lines)


def mutants_of(path: str, source: str) -> list[Mutant]:
    """The mutants of a file in order: swapped comparisons, and/or, +/-, small integers plus one, dropped `not`."""
    found: list[Mutant] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        new = SWAPS.get(token.string)
        if token.type == tokenize.NUMBER and token.string.isdecimal() and int(token.string) <= LARGEST_CONSTANT:
            new = str(int(token.string) + 1)
        if new is not None and token.type in (tokenize.NUMBER, tokenize.OP, tokenize.NAME):
            found.append(Mutant(path, *token.start, token.string, new))
    return found


def modules() -> list[str]:
    """The files that are changed, relative to the root."""
    paths = (path for pattern in MODULES for path in sorted(ROOT.glob(pattern)))
    return [str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py"]


@functools.cache
def tests_of(path: str) -> list[str]:
    """The test files that cover a module, relative to the root."""
    name = Path(path).name
    patterns = COVERED_BY.get(name, (f"test_{Path(name).stem}*",))
    found = (file for pattern in patterns for top in TESTS for file in (ROOT / "tests" / top).rglob(f"{pattern}.py"))
    return sorted({str(file.relative_to(ROOT)) for file in found})


def copied(tree: Path) -> Path:
    """Copies what the tests need into a new folder."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def passes(tree: Path, tests: Sequence[str], timeout_s: float | None = None) -> bool:
    """Whether the tests pass in a copy of the tree; a run that takes longer than `timeout_s` does not."""
    # No .pyc files: a mutant can have the size and time of the file before it.
    paths = os.pathsep.join(str(tree / name) for name in FOLDERS)
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-xqq", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
    try:
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return False
    if run.returncode in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(run.stdout.decode() + run.stderr.decode())
    return run.returncode == 0


def limit_of(path: str, tree: Path) -> float:
    """Seconds after which the tests of a module count as failed: several times what they take without a change."""
    started = time.monotonic()
    if not passes(tree, tests_of(path)):
        raise SystemExit(f"{path}: its tests fail without a change")
    return 5 + 4 * (time.monotonic() - started)


def survives(mutant: Mutant, trees: queue.Queue[Path], timeout_s: float) -> bool:
    """Whether the tests pass with the change."""
    tree = trees.get()
    file = tree / mutant.path
    source = file.read_text(encoding="utf-8")
    try:
        file.write_text(mutant.applied(source), encoding="utf-8")
        return passes(tree, tests_of(mutant.path), timeout_s)
    finally:
        file.write_text(source, encoding="utf-8")
        trees.put(tree)


def main() -> None:
    """Runs the mutants and prints the survivors as file:line: old -> new."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--module", default="", help="only files with this in their path")
    options.add_argument("--limit", type=int, default=200, help="at most this many mutants, drawn at random (default: 200)")
    options.add_argument("--seed", type=int, default=0, help="which ones are drawn (default: 0)")
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core")
    given = options.parse_args()
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in modules() if given.module in path}
    drawn = [mutant for path, source in sources.items() for mutant in mutants_of(path, source)]
    if not drawn:
        options.error(f"no module has {given.module!r} in its path")
    chosen = set(random.Random(given.seed).sample(drawn, min(given.limit, len(drawn))))
    drawn = [mutant for mutant in drawn if mutant in chosen]
    with tempfile.TemporaryDirectory(prefix="shoal-mutants-") as folder, ThreadPoolExecutor(given.processes) as pool:
        trees: queue.Queue[Path] = queue.Queue()
        for index in range(given.processes):
            trees.put(copied(Path(folder, str(index))))
        limits = {path: limit_of(path, Path(folder, "0")) for path in sources if any(one.path == path for one in drawn)}
        killed = 0
        for mutant, alive in zip(drawn, pool.map(lambda one: survives(one, trees, limits[one.path]), drawn), strict=True):
            killed += not alive
            if alive:
                line = sources[mutant.path].splitlines()[mutant.line - 1].strip()
                print(f"{mutant.path}:{mutant.line}: {mutant.old} -> {mutant.new or 'nothing'}    {line}", flush=True)
    print(f"{killed} of {len(drawn)} mutants killed")


if __name__ == "__main__":
    main()
