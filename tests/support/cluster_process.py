"""`shoal serve` as a child process: start, address, kills of parts or all of it, leftover processes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from shoal.client import Client, RetryPolicy, ShoalError

START_S = 90.0
STOP_S = 60.0
LEFTOVER_S = 20.0
RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""How their command lines begin. They hold nothing, and when their node was killed, as Ray itself does with one that ends
too slowly, they try for a minute to tell its head, which is gone as well."""
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def shoal(*arguments: str, timeout_s: float = START_S) -> subprocess.CompletedProcess[str]:
    """Runs a `shoal` command to its end, in a session of its own."""
    return subprocess.run(
        [sys.executable, "-m", "shoal.client.cli", *arguments],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        start_new_session=True,
    )


def refused_serve(data: Path, listen: str = "127.0.0.1:0") -> str:
    """Runs a `shoal serve` that must refuse to start with exit code 1; returns its one line."""
    ended = shoal("serve", "--data", str(data), "--listen", listen, "--json")
    assert ended.returncode == 1, ended
    assert ended.stdout == "", ended
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ended.stderr
    return lines[0]


def eventually(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Returns once `condition` holds; an unreachable cluster counts as not yet."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
            last = "it does not hold"
        except ShoalError as error:
            last = str(error)
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what} ({last})"
        time.sleep(0.1)


class ServeProcess:
    """`shoal serve` on a data folder. All that it starts is in one session, by which leftovers are found."""

    def __init__(self, data: Path, *options: str, ray: dict[str, str] | None = None) -> None:
        """Starts it and returns at once.

        `ray` is the environment of those who join a Ray that runs already; what it does there is not in the session.
        """
        self.data = data
        self.log = data.with_name(f"{data.name}.stderr")
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shoal.client.cli", "serve", "--data", str(data), *options],
                env=_environment() | (ray or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Lines of its output; an empty one when it has ended."""
        self._reader = threading.Thread(target=self._read, name="cluster stdout", daemon=True)
        self._reader.start()

    def stop(self) -> int:
        """Ends it with SIGTERM; returns the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        return self._ended()

    def kill(self) -> int:
        """Ends `serve` itself with SIGKILL; its processes must end by themselves."""
        if self._process.poll() is None:
            self._process.kill()
        return self._ended()

    def leftovers(self, named: str = "") -> list[str]:
        """Command lines of processes, those with `named` in them, that do not end within LEFTOVER_S by themselves.

        Ray's agents do not count.
        """
        deadline = time.monotonic() + LEFTOVER_S
        while (left := self._command_lines(named)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def close(self) -> None:
        """Ends it, by force if necessary, with all its processes."""
        try:
            self.stop()
        finally:
            for process in self._alive():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def _ended(self) -> int:
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"serve did not end within {STOP_S:g} s\n{self._log_tail()}") from None
        self._reader.join(STOP_S)
        return code

    def _command_lines(self, named: str) -> list[str]:
        lines = []
        for process in self._alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                lines.append((" ".join(process.cmdline()) or process.name()).strip())
        return [line for line in lines if named in line and not line.startswith(RAY_AGENTS)]

    def _alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self.lines.put(line)
        self.lines.put("")

    def _log_tail(self) -> str:
        lines: Sequence[str] = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])


class ClusterProcess(ServeProcess):
    """A cluster on a data folder and a free port."""

    def __init__(self, data: Path, config: str = "", listen: str = "127.0.0.1:0", ray: dict[str, str] | None = None) -> None:
        """Starts it and returns when it is ready; `config` is the text of a settings file."""
        options = ["--listen", listen, "--json"]
        if config:
            settings = data.with_name(f"{data.name}.toml")
            settings.write_text(config, encoding="utf-8")
            options += ["--config", str(settings)]
        super().__init__(data, *options, ray=ray)
        self.ready: dict[str, str] = {}
        """Its ready message."""
        try:
            self.address = self._await_address()
        except BaseException:
            self.kill()
            raise

    def client(self, timeout: float = 60.0, retry: RetryPolicy | None = None) -> Client:
        """A new client; the caller closes it."""
        return Client(self.address, timeout=timeout, retry=retry)

    def pids(self) -> dict[str, list[int]]:
        """Process ids of ready processes, by kind: coordinator, encoder, index, gateway."""
        found: dict[str, list[int]] = {}
        with self.client() as client:
            for process in client.status().processes:
                if process.state == "ready":
                    found.setdefault(process.kind, []).append(process.pid)
        return found

    def kill9(self, kind: str) -> int:
        """Kills one process of a kind with SIGKILL and returns its id."""
        found: list[int] = []

        def look() -> bool:
            found[:] = self.pids().get(kind, [])
            return bool(found)

        # A process that was slow to answer is not ready for a while.
        eventually(look, f"a {kind} is ready")
        pid = found[0]
        assert os.getsid(pid) == self._process.pid, f"{pid} is not a process of this cluster"
        os.kill(pid, signal.SIGKILL)
        return pid

    def _await_address(self) -> str:
        deadline = time.monotonic() + START_S
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"serve was not ready within {START_S:g} s\n{self._log_tail()}") from None
            assert line, f"serve ended before it was ready\n{self._log_tail()}"
            event = json.loads(line)
            if event["event"] == "ready":
                self.ready = event
                return str(event["address"])


def _environment() -> dict[str, str]:
    # Ignores a Ray that runs on this machine for other purposes.
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return inherited | _ENVIRONMENT
