from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.running import checked_model_name


def test_a_local_model_is_known_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checked_model_name("mine") == checked_model_name("./mine") == str(tmp_path / "mine")
    assert checked_model_name("mine@int8") == f"{tmp_path}/mine@int8"
    assert checked_model_name("hashing:64") == "hashing:64"
    assert checked_model_name("all-MiniLM-L6-v2") == "all-MiniLM-L6-v2"
    assert checked_model_name("all-MiniLM-L6-v2@float32") == "all-MiniLM-L6-v2@float32"


@pytest.mark.parametrize("model", ["./not-there", "mine@int99", ""])
def test_a_name_that_is_not_a_model_is_reported(model: str):
    with pytest.raises(JobError, match="model"):
        checked_model_name(model)
