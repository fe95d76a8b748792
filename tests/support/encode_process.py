"""`shoal encode` as a child process: waited for, killed, checked for leftovers; and its output read back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet

from shoal.cluster.jobs.encode.output import OutputFolder
from support.cluster_process import RAY_AGENTS

ENDED_S = 120.0
LEFTOVER_S = 30.0
ENCODER = "ray::MapWorker"


def environment() -> dict[str, str]:
    """The environment of a process that uses no Ray but its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return inherited | {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}


class TooLate(AssertionError):
    """A run ended before the test could disturb it; the test may try again."""


class EncodeProcess:
    """A run of the command in a session of its own, by which its processes are found."""

    COMMAND: Sequence[str] = ("encode",)

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shoal.client.cli", *self.COMMAND, *map(str, arguments)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self, within_s: float = ENDED_S) -> subprocess.CompletedProcess[str]:
        """Waits for its end; none of its processes is left except Ray's agents."""
        try:
            stdout, stderr = self._process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.close()
            raise
        done = subprocess.CompletedProcess(self._process.args, self._process.returncode, stdout, stderr)
        try:
            assert self.leftovers() == [], done
        finally:
            self.close()
        return done

    def until(self, condition: Callable[[], bool], what: str, within_s: float = ENDED_S) -> None:
        """Returns once `condition` holds; the process must not end before."""
        deadline = time.monotonic() + within_s
        while not condition():
            if self._process.poll() is not None:
                raise TooLate(f"ended before {what}: {self._process.communicate()}")
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the driver only."""
        self._process.send_signal(number)

    def encoders(self) -> list[psutil.Process]:
        """The actors that encode."""
        return self.named(ENCODER)

    def named(self, what: str) -> list[psutil.Process]:
        """The processes with `what` in their command line."""
        return [process for process, line in self._alive() if what in line]

    def leftovers(self) -> list[str]:
        """Processes of the session that do not end by themselves, except Ray's agents."""
        deadline = time.monotonic() + LEFTOVER_S
        while True:
            left = [line for _, line in self._alive() if not line.startswith(RAY_AGENTS)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)

    def close(self) -> None:
        """Ends all its processes."""
        for process, _ in self._alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _alive(self) -> list[tuple[psutil.Process, str]]:
        """Each with its command line, read at once because a process may end."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process, " ".join(process.cmdline())))
        return found


def encode(*arguments: object, within_s: float = ENDED_S) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return EncodeProcess(*arguments).ended(within_s)


def finished_parts(output: Path) -> int:
    """How many parts are finished."""
    return sum(1 for path in output.glob("part-*.json")) if output.is_dir() else 0


def encoded(output: Path) -> pa.Table:
    """Every row of a job, in the order of its parts."""
    manifests = OutputFolder(str(output)).finished()
    paths = [output / one.data.path for one in manifests if one.data is not None]
    return pa.concat_tables([pyarrow.parquet.read_table(path) for path in paths])


def bad_rows(output: Path) -> list[dict[str, Any]]:
    """Every bad row of a job, in the order of its parts."""
    return [json.loads(line) for path in sorted(output.glob("*.errors.jsonl")) for line in path.read_text().splitlines()]


def files(output: Path) -> dict[str, bytes]:
    """The finished files of a job, except its description, which differs in each run."""
    kept = (path for path in sorted(output.iterdir()) if path.name not in ("job.json", ".lock"))
    return {path.name: path.read_bytes() for path in kept}
