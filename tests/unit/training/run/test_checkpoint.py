"""A checkpoint is complete and of the right training, or refused; a failed write keeps the old one."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shoal.workers.training.word2vec.errors import TrainingError
from shoal.workers.training.word2vec.run.checkpoint import Checkpoint, is_due
from shoal.workers.training.word2vec.run.schedule import EpochSpan, ScheduleState
from shoal.workers.training.word2vec.tables import Tables

STATE = ScheduleState(rounds=7, epochs=2, done=1234, queue=(EpochSpan(0, 3), EpochSpan(1, 0)))


def checkpoint(seed: int = 1, count: int = 50) -> Checkpoint:
    return Checkpoint(STATE, Tables.initial(count, 20, seed), "digest")


def test_a_checkpoint_is_read_back_and_a_newer_one_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    assert Checkpoint.read(path, "digest", 50, 20) is None
    for seed in (1, 2):
        checkpoint(seed).write(path)
        found = Checkpoint.read(path, "digest", 50, 20)
        assert found is not None and found.state == STATE
        assert np.array_equal(found.tables.input, Tables.initial(50, 20, seed).input) and not found.tables.output.any()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("digest", "count", "dim"), [("other", 50, 20), ("digest", 51, 20), ("digest", 50, 21)])
def test_a_checkpoint_of_another_vocabulary_or_dimension_is_refused(
    tmp_path: Path, digest: str, count: int, dim: int
) -> None:
    checkpoint().write(tmp_path / "checkpoint")
    with pytest.raises(TrainingError, match="another vocabulary or dim; start over with overwrite"):
        Checkpoint.read(tmp_path / "checkpoint", digest, count, dim)


@pytest.mark.parametrize("size", [0, 5, 150, 400, 3000])
def test_a_damaged_checkpoint_is_reported_in_one_line(tmp_path: Path, size: int) -> None:
    path = tmp_path / "checkpoint"
    checkpoint().write(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(TrainingError) as message:
        Checkpoint.read(path, "digest", 50, 20)
    assert "the checkpoint cannot be read" in str(message.value) and "\n" not in str(message.value)


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    checkpoint().write(path)
    before = path.read_bytes()
    # The limit applies to a whole process, so another one runs into it.
    code = f"""
import resource, signal
from pathlib import Path
from shoal.workers.training.word2vec.errors import TrainingError
from test_checkpoint import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
try:
    checkpoint(seed=2, count=5000).write(Path({str(path)!r}))
except TrainingError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == f"{path}: cannot be written: File too large"
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_checkpoints_are_due_regularly_and_more_rarely_where_writing_takes_long() -> None:
    assert not is_due(159, 100, 0.1, every_s=60) and is_due(160, 100, 0.1, every_s=60)
    assert not is_due(199, 100, 5.0, every_s=60) and is_due(200, 100, 5.0, every_s=60)
