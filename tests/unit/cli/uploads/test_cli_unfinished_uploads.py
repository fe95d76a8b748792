"""An upload that ends early says what is stored, and the same command goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from shoal.client import Client
from shoal.client.cli import session
from support.gateway.client_server import FakeGateway


@pytest.fixture
def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(session, "PATIENCE_S", 0.1)
    path = tmp_path / "papers.jsonl"
    path.write_text("".join(json.dumps({"id": f"{n:04}", "text": f"moon {n}"}) + "\n" for n in range(100)))
    return path


def test_a_server_that_ends_during_add(shoal: Callable[..., Result], gateway: FakeGateway, papers: Path) -> None:
    gateway.world.break_after = [3, *[0] * 1000]
    result = shoal("add", "c", papers, "--batch", 10)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("shoal: cannot reach ")
    assert " documents were acknowledged, the first that was not is '0030'; run the same command again to go on\n" in (
        result.stderr
    )
    assert "; 30 of " in result.stderr
    gateway.world.break_after = []
    assert "100 documents in c, 70 of them new or changed" in shoal("add", "c", papers).stdout


def test_ctrl_c_during_add(
    shoal: Callable[..., Result], gateway: FakeGateway, papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Client.upsert_many

    def interrupted(client: Client, *args: Any, **options: Any) -> None:
        def follow(progress: Any) -> None:
            options["progress"](progress)
            if progress.acknowledged >= 30:
                raise KeyboardInterrupt

        whole(client, *args, **{**options, "progress": follow})

    monkeypatch.setattr(Client, "upsert_many", interrupted)
    result = shoal("add", "c", papers, "--batch", 10)
    assert result.exit_code == 130
    stored, ended = filter(None, result.stderr.splitlines())
    assert stored.startswith("shoal: 30 of ")
    assert stored.endswith(" documents were stored in c; run the same command again to go on")
    assert ended == "shoal: interrupted"


def test_nothing_is_said_of_an_upload_that_stored_nothing(
    shoal: Callable[..., Result], gateway: FakeGateway, papers: Path
) -> None:
    gateway.world.break_after = [0] * 1000
    result = shoal("add", "c", papers)
    assert result.exit_code == 1 and "acknowledged" not in result.stderr and "again" not in result.stderr
