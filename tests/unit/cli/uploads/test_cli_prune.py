"""`shoal add NAME FOLDER --prune`: what is gone from the folder is deleted, and never much of it by mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import Result

from support.gateway.client_server import FakeGateway


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.md").write_text(f"note {number}")
    return folder


def ids(gateway: FakeGateway) -> set[str]:
    return set(gateway.world.collections["c"].documents)


def test_what_is_gone_is_deleted(
    shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway, notes: Path
) -> None:
    assert shoal("add", "c", notes).exit_code == 0
    other = notes.parent / "other.jsonl"
    other.write_text('{"id": "other", "text": "of another source"}')
    assert shoal("add", "c", other).exit_code == 0
    (notes / "3.md").unlink()
    (notes / "5.md").rename(notes / "six.md")
    shown = shoal("add", "c", notes, "--prune", "--dry-run")
    assert shown.stdout.splitlines() == [
        "gone: 3.md",
        "gone: 5.md",
        "7 documents would be in c, 2 of 8 would be deleted; nothing was written",
    ]
    assert "3.md" in ids(gateway) and "six.md" not in ids(gateway)
    assert shoal_json("add", "c", notes, "--prune", "--dry-run")["gone"] == ["3.md", "5.md"]
    result = shoal("add", "c", notes, "--prune")
    assert result.stdout.startswith("7 documents in c, 1 of them new or changed, 2 deleted; ")
    assert ids(gateway) == {"0.md", "1.md", "2.md", "4.md", "6.md", "7.md", "six.md", "other"}
    assert shoal_json("add", "c", notes, "--prune")["deleted"] == 0


def test_without_prune_nothing_is_deleted(shoal: Callable[..., Result], gateway: FakeGateway, notes: Path) -> None:
    shoal("add", "c", notes)
    (notes / "3.md").unlink()
    assert shoal("add", "c", notes).exit_code == 0 and "3.md" in ids(gateway)


def test_more_than_half_needs_force(shoal: Callable[..., Result], gateway: FakeGateway, notes: Path) -> None:
    shoal("add", "c", notes)
    for number in range(5):
        (notes / f"{number}.md").unlink()
    for options in (["--dry-run"], []):
        result = shoal("add", "c", notes, "--prune", *options)
        assert (result.exit_code, len(ids(gateway))) == (1, 8)
        assert result.stderr == (
            f"shoal: 5 of 8 documents are gone from {notes}, more than half: nothing was deleted; --force deletes them\n"
        )
    assert shoal("add", "c", notes, "--prune", "--force").exit_code == 0
    assert ids(gateway) == {"5.md", "6.md", "7.md"}


def test_an_empty_folder_deletes_nothing(shoal: Callable[..., Result], gateway: FakeGateway, notes: Path) -> None:
    shoal("add", "c", notes)
    for path in notes.iterdir():
        path.unlink()
    result = shoal("add", "c", notes, "--prune", "--force")
    assert result.exit_code == 1 and "files in this folder" in result.stderr
    assert len(ids(gateway)) == 8


def test_rows_that_are_bad_are_not_gone(shoal: Callable[..., Result], gateway: FakeGateway, notes: Path) -> None:
    rows = [{"id": f"r{number}", "text": "row"} for number in range(4)]
    path = notes / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shoal("add", "c", notes)
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"id": "r0", "text": 5}, *rows[1:3]]))
    result = shoal("add", "c", notes, "--prune")
    assert result.exit_code == 1 and {"r0", "r1", "r2"} <= ids(gateway) and "r3" not in ids(gateway)
    path.write_text('{"id": "r1", "text": "row"}\n{')
    result = shoal("add", "c", notes, "--prune")
    assert result.exit_code == 1 and "ids are not known: nothing was deleted; 1 row was not added to c: " in result.stderr
    assert "1 documents in c" in result.stdout or "9 documents in c" in result.stdout
    assert {"r0", "r1", "r2"} <= ids(gateway)


def test_what_another_folder_has_stays(shoal: Callable[..., Result], gateway: FakeGateway, notes: Path) -> None:
    more = notes.parent / "more"
    more.mkdir()
    (more / "3.md").write_text("note 3")
    shoal("add", "c", notes)
    shoal("add", "c", more)
    (notes / "3.md").unlink()
    (notes / "4.md").unlink()
    result = shoal("add", "c", notes, "--prune")
    assert "1 deleted" in result.stdout and "3.md" in ids(gateway) and "4.md" not in ids(gateway)


def test_an_upload_that_fails_deletes_nothing(shoal: Callable[..., Result], gateway: FakeGateway, notes: Path) -> None:
    shoal("add", "c", notes)
    (notes / "3.md").unlink()
    gateway.fail("UpsertStream", grpc.StatusCode.PERMISSION_DENIED)
    assert shoal("add", "c", notes, "--prune").exit_code == 1
    assert len(ids(gateway)) == 8 and not gateway.world.calls["Delete"]


@pytest.mark.parametrize("inputs", [["-"], ["notes/0.md"], ["notes", "more"]])
def test_prune_takes_one_folder(
    shoal: Callable[..., Result], gateway: FakeGateway, notes: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str]
) -> None:
    monkeypatch.chdir(notes.parent)
    result = shoal("add", "c", *inputs, "--prune")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "shoal: --prune takes one folder")
