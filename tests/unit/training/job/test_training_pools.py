"""Checks before a training starts: the learner pool and the output."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.jobs.word2vec.train_job import LearnerPoolSettings, TableOutput, most_threads
from shoal.workers.encoding.word_vectors.saving import TableFormat
from shoal.workers.encoding.word_vectors.word_folder import Pooling
from shoal.workers.training.word2vec.errors import TrainingError


@given(st.integers(1, 40), st.lists(st.integers(0, 70), max_size=6))
def test_workers_get_as_many_threads_as_fit(workers: int, cores: list[int]):
    threads = most_threads(workers, cores)

    def room(count: int) -> int:
        return sum(own // count for own in cores)

    assert threads == 1 or room(threads) >= workers
    assert all(room(count) < workers for count in range(threads + 1, 72))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, "workers is 0, must be at least 1"),
        ({"threads": -1}, "threads is -1, must be at least 0"),
        ({"gpus": -0.5}, "gpus is -0.5, must be at least 0"),
        ({"device": "tpu"}, "device is 'tpu', must be one of auto, cpu, cuda"),
    ],
)
def test_an_impossible_pool(values: dict[str, object], message: str):
    with pytest.raises(TrainingError, match=message):
        LearnerPoolSettings(**values)  # type: ignore[arg-type]


def test_settings_that_a_file_format_cannot_store():
    assert TableOutput(path=Path("v"), pooling=Pooling.SIF, keep_output_vectors=True).form is TableFormat.FOLDER
    with pytest.raises(TrainingError, match="pooling is sif, which format binary cannot store"):
        TableOutput(path=Path("v"), form=TableFormat.BINARY, pooling=Pooling.SIF)
    with pytest.raises(TrainingError, match="format text cannot store the output vectors"):
        TableOutput(path=Path("v"), form=TableFormat.TEXT, keep_output_vectors=True)
