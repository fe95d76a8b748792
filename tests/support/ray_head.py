"""A Ray head of its own, with token authentication and the job server, as a child process that ends with the tests."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from support.encode_process import environment

START_S = 90.0
RUN_S = 120.0


class RayHead:
    """Runs until closed. Its commands have its token."""

    def __init__(self, cpus: int = 2) -> None:
        # Not below pytest's folder: the paths of Ray's sockets must be short.
        self._folder = tempfile.mkdtemp(prefix="ray")
        self._ports = [_held_port() for _ in range(2)]
        port, self._dashboard_port = (held.getsockname()[1] for held in self._ports)
        self.address = f"127.0.0.1:{port}"
        self.token = secrets.token_hex(32)
        self.log = Path(self._folder, "head.log")
        arguments = ["start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port)]
        arguments += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(self._dashboard_port)]
        # Any free port, not those that another Ray of this machine may want.
        arguments += ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
        arguments += ["--num-cpus", str(cpus), "--temp-dir", self._folder, "--disable-usage-stats"]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [_tool("ray"), *arguments], env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._await_job_server()
        except BaseException:
            self.close()
            raise

    @property
    def job_server(self) -> str:
        """What `ray job submit --address` takes."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    def environment(self, token: str | None = None) -> dict[str, str]:
        """The environment of a process with its token; commands of this virtual environment are on the path."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token or self.token, "PATH": path}

    def joined(self) -> dict[str, str]:
        """The environment of a process that joins it."""
        return self.environment() | {"RAY_ADDRESS": self.address}

    def submit(self, *entrypoint: object, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs Runs `ray job submit -- entrypoint` to its end."""
        arguments = ["job", "submit", "--address", self.job_server, "--", *map(str, entrypoint)]
        return _run([_tool("ray"), *arguments], self.environment(token))

    def run(self, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a `shoal` command that joins it by RAY_ADDRESS, in the folder `cwd`."""
        return _run([sys.executable, "-m", "shoal.client.cli", *map(str, arguments)], self.joined(), cwd)

    def close(self) -> None:
        """Ends all of its processes: `ray stop` would end every Ray of this machine, and SIGTERM takes half a minute."""
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self._process.pid or self._folder in " ".join(process.cmdline()):
                    process.kill()
        self._process.wait()
        for held in self._ports:
            held.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await_job_server(self) -> None:
        request = urllib.request.Request(f"{self.job_server}/api/version", headers={"Authorization": f"Bearer {self.token}"})
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(request, timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            assert self._process.poll() is None and time.monotonic() < deadline, self.log.read_text(errors="replace")
            time.sleep(0.2)


def _run(command: list[str], env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False
    )


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _held_port() -> socket.socket:
    """Holds a port that is never assigned as a free one, while Ray, which asks for it by number, can listen there."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
