"""A path to a model means the same to the server, which runs in another folder, as to the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from shoal.console import absolute_model_name
from support.gateway.client_server import FakeGateway


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with some models, which is also home."""
    for name in ("mine", "models/wiki", "odd@int8", "hashing", "hashing:64"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "vectors.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("./mine", "{here}/mine"),
        ("mine", "{here}/mine"),
        ("models/wiki/", "{here}/models/wiki"),
        ("~/mine@int8", "{here}/mine@int8"),
        ("./mine@float32", "{here}/mine@float32"),
        ("odd@int8", "{here}/odd@int8"),
        ("vectors.txt", "{here}/vectors.txt"),
        ("./missing", "{here}/missing"),
        ("/models/wiki/", "/models/wiki"),
    ],
)
def test_paths_become_absolute(typed: str, sent: str, here: Path) -> None:
    assert absolute_model_name(typed) == sent.format(here=here)


@pytest.mark.parametrize("typed", ["", "all-MiniLM-L6-v2", "org/name@int8", "hashing", "hashing:64", "@int8", "some words"])
def test_other_names_stay_as_they_are(typed: str, here: Path) -> None:
    assert absolute_model_name(typed) == typed


def test_commands_send_absolute_names(
    here: Path, shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway
) -> None:
    assert shoal_json("create", "x", "--model", "./mine")["model"] == f"{here}/mine"
    assert shoal("embed", "mine", "four").exit_code == 0
    assert gateway.embedding.requests[0].model == f"{here}/mine"
