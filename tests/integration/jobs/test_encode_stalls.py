"""A job on encoders that hang, as a GPU may: the process is killed and another one tries, a limited number of times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import JobSettings
from shoal.cluster.jobs.encode.part_writer import MOST_ATTEMPTS
from shoal.cluster.jobs.encode.pipeline import Replicas
from shoal.cluster.jobs.encode.running import JobListeners, JobSummary, run_job
from support import encode_process
from support.models.breaking_encoder import ONCE, breaking_session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
QUIET = JobListeners(
    lambda _note: None, lambda _phase: None, lambda _stats, _precision: None, lambda _stats: None, lambda _report: None
)


@pytest.fixture(scope="module", autouse=True)
def hesitated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A session whose encoders hang on some words (see `breaking_encoder`); the file tells that one did so once."""
    once = tmp_path_factory.mktemp("breaking") / "hesitated"
    with breaking_session(**{ONCE: str(once)}):
        yield once


def run(folder: Path, texts: list[str]) -> JobSummary:
    corpus = folder / "rows.jsonl"
    corpus.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    settings = JobSettings("hashing:64", part_rows=2)
    return run_job([str(corpus)], str(folder / "out"), settings, Replicas(1, 1, 0.0), False, QUIET)


def test_work_that_hangs_once_is_done_by_another_process(tmp_path: Path, hesitated: Path) -> None:
    done = run(tmp_path, ["one", "two", "three hesitant", "four", "five"])
    assert hesitated.exists()
    assert (done.rows, done.bad_rows, done.parts) == (5, 0, 3)
    assert encode_process.encoded(tmp_path / "out").column("id").to_pylist() == ["d0", "d1", "d2", "d3", "d4"]


def test_a_text_on_which_every_process_hangs_ends_the_job(tmp_path: Path) -> None:
    died = rf"part-000000-000001 \(from .*rows\.jsonl:3 on\): the encoder process died {MOST_ATTEMPTS} times"
    with pytest.raises(JobError, match=died):
        run(tmp_path, ["one", "two", "three stuck", "four", "five"])
