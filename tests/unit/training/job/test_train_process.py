"""`shoal train word2vec` as a process: its imports, and what happens when it is terminated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.workers.encoding.word_vectors.word_table import read_word_table

WORDS = [
    "moon",
    "sun",
    "tide",
    "star",
    "light",
    "night",
    "day",
    "sea",
    "sky",
    "wind",
    "rain",
    "snow",
    "ice",
    "fire",
    "earth",
]
EPOCHS = 500
SHOAL = ("-m", "shoal.client.cli")
# Sleeps after each of its hundreds of rounds, so that it still runs after a pause of the machine.
UNHURRIED = (
    "-c",
    "import time; from shoal.workers.training.word2vec.run.progress import TrainingProgress as Progress; "
    "stats = Progress.stats; Progress.stats = lambda progress: time.sleep(0.2) or stats(progress); "
    "from shoal.client.cli import main; main()",
)
ENDED_S = 90


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("".join(" ".join(WORDS[number % 7 :: number % 5 + 1]) + "\n" for number in range(4000)))
    return path


def command(*arguments: object, program: tuple[str, ...] = SHOAL) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, *program, "train", "word2vec", *map(str, arguments)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(300)
def test_a_terminated_training_keeps_its_state_and_resumes_later(corpus: Path, tmp_path: Path):
    output = tmp_path / "vectors"
    arguments = [corpus, "--output", output, "--dim", 16, "--threads", 1, "--sample", 0, "--round-words", 20_000, "--json"]
    process = command(*arguments, "--epochs", EPOCHS, program=UNHURRIED)
    try:
        assert process.stdout is not None
        while '"event": "progress"' not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=ENDED_S)
    finally:
        process.kill()
    assert process.returncode == 130
    message = [f"stopped; run the same command to resume from {output}.training", "shoal: interrupted"]
    assert [line for line in stderr.splitlines() if line] == message
    assert not output.exists() and (tmp_path / "vectors.training").is_dir()

    other = command(*arguments, "--epochs", 30)
    _, stderr = other.communicate(timeout=ENDED_S)
    assert other.returncode == 1
    assert f"contains an interrupted training with epochs {EPOCHS}, this one has 30" in stderr

    stdout, stderr = command(*arguments, "--epochs", EPOCHS).communicate(timeout=ENDED_S)
    events = [json.loads(line) for line in stdout.splitlines()]
    started = next(event for event in events if event["event"] == "started")
    assert 0 < started["trained_before"] < EPOCHS * started["corpus_words"], stderr
    assert events[-1]["trained_before"] + events[-1]["words"] == EPOCHS * started["corpus_words"]
    assert len(read_word_table(output).words) == len(WORDS)
    assert not (tmp_path / "vectors.training").exists()


def test_one_worker_needs_no_ray(corpus: Path, tmp_path: Path):
    # A module of this name that cannot be imported.
    (tmp_path / "ray.py").write_text("raise SystemExit('ray was imported')\n")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, *SHOAL, "train", "word2vec", corpus, "--output", tmp_path / "v", "--dim", "4"],
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=ENDED_S,
        check=False,
    )
    assert done.returncode == 0, done
    assert done.stdout.startswith(f"{len(WORDS)} vectors in ")
