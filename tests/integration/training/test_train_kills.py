"""kill -9 of the driver of a training: the same command resumes and ends with the same result."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from shoal.workers.encoding.word_vectors.word_table import read_word_table
from support.encode_process import EncodeProcess, TooLate
from support.training_run import write_text

pytestmark = pytest.mark.timeout(300)
# Usually long enough for a kill; on Ray a round takes longer.
EPOCHS, RAY_EPOCHS = 1000, 300
TRIES = 3
TABLE = "model.safetensors"
Result = TypeVar("Result")


class TrainProcess(EncodeProcess):
    """`shoal train word2vec` on the text in `folder`, each time the same."""

    COMMAND = ("train", "word2vec")

    def __init__(self, folder: Path, *more: object, epochs: int = EPOCHS) -> None:
        self.output = folder / "model"
        self.checkpoint = folder / "model.training" / "checkpoint"
        super().__init__(
            write_text(folder / "text.txt") if not (folder / "text.txt").exists() else folder / "text.txt",
            *("--output", self.output, "--dim", 16, "--min-count", 2, "--epochs", epochs, "--threads", 1),
            *("--round-words", 20_000, "--checkpoint-every", 0, "--json", *more),
        )

    def events(self) -> dict[str, dict[str, Any]]:
        """The last event of each kind, once it has ended as expected."""
        done = self.ended()
        assert done.returncode == 0, done
        return {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}

    def killed(self) -> None:
        """Waits for the middle; raises TooLate if it has passed."""
        self.until(self.checkpoint.exists, "a checkpoint is there")
        self.send(signal.SIGKILL)
        done = self.ended()
        if done.returncode == 0:
            raise TooLate("it ended before it was killed")
        assert done.returncode == -signal.SIGKILL
        assert self.checkpoint.exists() and not self.output.exists()

    def written_ns(self) -> int:
        """When the checkpoint was written; raises TooLate when there is none any more."""
        try:
            return self.checkpoint.stat().st_mtime_ns
        except FileNotFoundError:
            raise TooLate("the training is over") from None

    def learners(self) -> list[psutil.Process]:
        """The actors that train."""
        return self.named("ray::LearnerActor")


def in_the_middle(disturb: Callable[[Path], Result], folder: Path) -> Result:
    """Runs `meddle` in a new folder below `folder`, and again when it came too late."""
    for attempt in range(TRIES):
        attempt_folder = folder / f"try-{attempt}"
        attempt_folder.mkdir()
        try:
            return disturb(attempt_folder)
        except TooLate:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def test_one_worker_ends_with_the_same_bits(tmp_path: Path) -> None:
    def killed(folder: Path) -> Path:
        TrainProcess(folder).killed()
        return folder

    running = TrainProcess(in_the_middle(killed, tmp_path))
    events = running.events()
    started, finished = events["started"], events["finished"]
    assert 0 < started["trained_before"] < EPOCHS * started["corpus_words"]
    assert started["trained_before"] + finished["words"] == EPOCHS * started["corpus_words"]
    assert not running.checkpoint.parent.exists()
    undisturbed = TrainProcess(tmp_path)
    assert undisturbed.events()["started"]["trained_before"] == 0
    assert (running.output / TABLE).read_bytes() == (undisturbed.output / TABLE).read_bytes()


@pytest.mark.cluster
def test_workers_on_ray(tmp_path: Path) -> None:
    def killed_twice(folder: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
        TrainProcess(folder, "--workers", 2, epochs=RAY_EPOCHS).killed()
        running = TrainProcess(folder, "--workers", 2, epochs=RAY_EPOCHS)
        written = running.written_ns()
        running.until(lambda: running.written_ns() > written, "it goes on")
        for learner in running.learners()[:1]:
            assert learner.environ()["RAY_ENABLE_AUTO_CONNECT"] == "0", "a thread may start another Ray at the end"
            learner.kill()
        # Ray's message about it is not on stdout, where each line is an event.
        events = running.events()
        if not events["progress"]["lost"]:
            raise TooLate("it ended before a learner was killed")
        return running.output, events

    output, events = in_the_middle(killed_twice, tmp_path)
    assert events["started"]["trained_before"] > 0 and events["progress"]["lost"] == 1
    assert events["progress"]["words"] == RAY_EPOCHS * events["started"]["corpus_words"]
    table = read_word_table(output)
    assert len(table.words) > 100 and table.vectors.any()
