"""kill -9 of the process that drives a training, in its middle: the same command goes on and comes to the same end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from encode_process import EncodeProcess
from shoal.workers.encoding.word_table import read_word_table
from training_run import write_text

# Long enough to be killed in; on Ray a round takes longer.
EPOCHS, RAY_EPOCHS = 1000, 300


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
        """What it told once it had ended, as it should; of each kind the last."""
        done = self.ended()
        assert done.returncode == 0, done
        return {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}

    def killed(self) -> None:
        """In the middle."""
        self.until(self.checkpoint.exists, "a checkpoint is there")
        self.send(signal.SIGKILL)
        assert self.ended().returncode == -signal.SIGKILL
        assert self.checkpoint.exists() and not self.output.exists()

    def learners(self) -> list[psutil.Process]:
        """The actors that train."""
        return [process for process in self._alive() if "ray::TrainerActor" in " ".join(process.cmdline())]


def test_one_worker_comes_to_the_same_bits(tmp_path: Path) -> None:
    for name in ("killed", "undisturbed"):
        (tmp_path / name).mkdir()
    TrainProcess(tmp_path / "killed").killed()
    running = TrainProcess(tmp_path / "killed")
    events = running.events()
    started, finished = events["started"], events["finished"]
    assert 0 < started["trained_before"] < EPOCHS * started["corpus_words"]
    assert started["trained_before"] + finished["words"] == EPOCHS * started["corpus_words"]
    assert not running.checkpoint.parent.exists()
    assert TrainProcess(tmp_path / "undisturbed").events()["started"]["trained_before"] == 0
    killed, undisturbed = (tmp_path / name / "model" / "model.safetensors" for name in ("killed", "undisturbed"))
    assert killed.read_bytes() == undisturbed.read_bytes()


@pytest.mark.cluster
def test_workers_on_ray(tmp_path: Path) -> None:
    TrainProcess(tmp_path, "--workers", 2, epochs=RAY_EPOCHS).killed()
    running = TrainProcess(tmp_path, "--workers", 2, epochs=RAY_EPOCHS)
    written = running.checkpoint.stat().st_mtime_ns
    running.until(lambda: running.checkpoint.stat().st_mtime_ns > written, "it goes on")
    running.learners()[0].kill()
    # What Ray has to say of that is not on stdout, where each line is an event.
    events = running.events()
    assert events["started"]["trained_before"] > 0 and events["progress"]["lost"] == 1
    assert events["progress"]["words"] == RAY_EPOCHS * events["started"]["corpus_words"]
    table = read_word_table(tmp_path / "model")
    assert len(table.words) > 100 and table.vectors.any()
