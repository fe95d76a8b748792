"""`shoal train word2vec` on a Ray cluster that runs already: submitted as a job, and joined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.word_vectors.word_folder import read_word_folder
from support.ray_head import RayHead

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
SMALL = ["--dim", 16, "--min-count", 2, "--epochs", 2, "--tokenizer", "unicode", "--lowercase"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation of this project."""
    pages = sorted((Path(__file__).parents[3] / "docs").glob("*.md"))
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text("\n".join(page.read_text() for page in pages))
    return path


def test_a_submitted_job_trains_with_the_clusters_workers(head: RayHead, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors"
    options = ["--workers", 2, "--threads", 1, "--round-words", 2000, "--averaging", "norm-ratio"]
    done = head.submit("shoal", "train", "word2vec", text, "--output", output, *SMALL, *options, "--json")
    assert done.returncode == 0, done
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event"')]
    started = next(event for event in events if event["event"] == "started")
    progress = [event for event in events if event["event"] == "progress"]
    assert {"event": "phase", "phase": "joining Ray"} in events
    assert (progress[0]["learners"], progress[-1]["share"]) == (2, 1.0)
    assert (events[-1]["words"], events[-1]["lost"]) == (2 * started["corpus_words"], 0)
    assert events[-1]["merges"] >= 1 and events[-1]["bytes_per_merge"] > 0
    assert len(read_word_folder(output, "vectors").words) == started["vocabulary"]
    assert not any(load_model(str(output), threads=1).encode(["the ledger and its shards"]).errors)


def test_a_cluster_without_room(head: RayHead, text: Path, tmp_path: Path) -> None:
    command = ["train", "word2vec", text, "--output", tmp_path / "vectors", *SMALL, "--workers", 2, "--threads", 2]
    done = head.run(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "shoal: workers is 2: with 2 threads each, the Ray cluster has room for 1\n"
