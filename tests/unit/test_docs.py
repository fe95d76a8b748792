"""Promises about the documents: links and paths exist, pages stay short, lines stay narrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")],
    key=lambda path: path.as_posix(),
)
LONGEST_LINE = 120
LONGEST_PAGE = {"docs/design.md": 150}
LONGEST_INTERNALS = 100


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Lines that are neither code nor part of a table, with their numbers."""
    code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            code = not code
        elif not code and not line.startswith("|"):
            yield number, line


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_existing_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_named_paths_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:tests|workers|cluster|client|protos|benchmarks|docs)/[\w./-]+)`", page.read_text(encoding="utf-8")
    )
    assert [path for path in named if "..." not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_lines_are_narrow(page: Path) -> None:
    assert [number for number, line in prose(page) if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_pages_on_the_design_are_short(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    limit = LONGEST_PAGE.get(name) or (LONGEST_INTERNALS if name.startswith("docs/internals/") else None)
    if limit is not None:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= limit
