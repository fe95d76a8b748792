"""The files of this project, parsed, for tests of its layout and style."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORTIONS = ("protos", "workers", "cluster", "client")
"""Folders that hold a part of the `shoal` namespace: the product."""


def python_files(*tops: str) -> list[Path]:
    """Every Python file in these folders of the project, except generated ones."""
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py") if "_pb2" not in path.name)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shown(path: Path) -> str:
    """The path of a file or folder inside the project."""
    return str(path.relative_to(ROOT))
