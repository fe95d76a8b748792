"""Two replicas on one machine that start with the same new model: one downloads it, the other waits and finds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

WITHIN_S = 60.0

# Replaces the hub: a download notes that it began, takes long enough for another to begin beside it, and fills the cache
# as the hub's client does.
REPLICA = """
import json, sys, time
from pathlib import Path
import huggingface_hub
from shoal.workers.encoding.loading.sources import HubSpec, locate

cache, begun, marker = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
real = huggingface_hub.snapshot_download

def download(repository, *, local_files_only=False, **options):
    if local_files_only:
        return real(repository, local_files_only=True)
    with begun.open("a") as file:
        file.write("download\\n")
    time.sleep(float(sys.argv[4]))
    folder = cache / "models--some--model"
    snapshot = folder / "snapshots" / ("0" * 40)
    (folder / "refs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    for name in ("config.json", "tokenizer.json"):
        (snapshot / name).write_text("{}")
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (snapshot / "modules.json").write_text(json.dumps(modules))
    (snapshot / "1_Pooling").mkdir()
    (snapshot / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (snapshot / "model.safetensors").write_bytes(b"")
    return str(snapshot)

huggingface_hub.snapshot_download = download
marker.touch()
print(locate("some/model", HubSpec("some/model")))
"""


class Machine:
    """A hub cache and the replicas that use it."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.begun = folder / "cache", folder / "begun"
        self.cache.mkdir()
        self._folder = folder
        self._replicas: list[subprocess.Popen[str]] = []

    def start(self, download_s: float) -> subprocess.Popen[str]:
        """Starts a replica; returns once it is about to look for the model."""
        marker = self._folder / f"marker{len(self._replicas)}"
        replica = subprocess.Popen(
            [sys.executable, "-c", REPLICA, str(self.cache), str(self.begun), str(marker), str(download_s)],
            env=os.environ | {"HF_HUB_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._replicas.append(replica)
        self.wait_for(marker.exists)
        return replica

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def downloads(self) -> int:
        return len(self.begun.read_text().splitlines()) if self.begun.exists() else 0

    def close(self) -> None:
        for replica in self._replicas:
            replica.kill()
            replica.communicate()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_one_downloads_and_the_other_waits(machine: Machine) -> None:
    replicas = [machine.start(download_s=1.5) for _ in range(2)]
    found = {replica.communicate(timeout=WITHIN_S)[0].strip() for replica in replicas}
    assert found == {str(machine.cache / "models--some--model" / "snapshots" / ("0" * 40))}
    assert machine.downloads() == 1


def test_a_download_that_is_killed_is_taken_over(machine: Machine) -> None:
    first = machine.start(download_s=60)
    machine.wait_for(lambda: machine.downloads() == 1)
    second = machine.start(download_s=0)
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=WITHIN_S)[0].strip().endswith("0" * 40)
    assert machine.downloads() == 2
