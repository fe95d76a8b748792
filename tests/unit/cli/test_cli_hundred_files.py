"""A hundred files with random faults: `shoal add` and `shoal encode` take the same rows and name the same bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from support.encoded_output import taken_by_encode
from support.faulty_files import write_faulty_files
from support.gateway.client_server import FakeGateway


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_files_with_random_faults(shoal: Callable[..., Result], gateway: FakeGateway, tmp_path: Path, seed: int):
    good = write_faulty_files(tmp_path / "in", 100, seed)
    rejects = tmp_path / "rejects.jsonl"
    result = shoal("add", "c", tmp_path / "in", "--rejects", rejects)
    added = sorted(gateway.world.collections["c"].documents)
    rejected = [json.loads(line) for line in rejects.read_text().splitlines()]
    encoded = taken_by_encode([tmp_path / "in"], tmp_path / "out")
    assert encoded.ids == added
    assert encoded.rejected == [(row["source"], row["line"], row["reason"]) for row in rejected]
    assert set(added) == good
    assert result.exit_code == 1 and len(rejected) > 100
    assert result.stderr.splitlines()[:1] == [f"{rejected[0]['source']}:{rejected[0]['line']}: {rejected[0]['reason']}"]
