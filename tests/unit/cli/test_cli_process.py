"""The command line as a process: exit codes, streams, and signals as a shell sees them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support.gateway.client_server import FakeGateway

SHOAL = [sys.executable, "-m", "shoal.client.cli"]


def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SHOAL, *args], capture_output=True, text=True, timeout=60, check=False, **options)


def test_success_and_json_on_stdout_alone(gateway: FakeGateway, tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "moon"}\n')
    added = run("add", "c", str(path), "--json")
    assert (added.returncode, json.loads(added.stdout)["written"], added.stderr) == (0, 1, "")
    found = run("search", "c", "moon", "--json")
    assert (found.returncode, json.loads(found.stdout)["hits"][0]["id"], found.stderr) == (0, "a", "")


def test_failure_and_wrong_usage():
    with FakeGateway() as gone:
        address = gone.address
    started_at_s = time.monotonic()
    failed = run("list", "--address", address)
    assert time.monotonic() - started_at_s < 25, "a missing server must not be waited for until the timeout"
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"shoal: cannot reach {address}: ") and failed.stderr.count("\n") == 1
    assert run("search").returncode == 2


def test_ctrl_c(gateway: FakeGateway):
    gateway.world.delay_s = 3.0
    process = subprocess.Popen([*SHOAL, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not gateway.world.calls["ListCollections"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr.strip()) == (130, "", "shoal: interrupted")


def test_a_reader_that_closes_the_pipe(gateway: FakeGateway):
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [*SHOAL, "list", "--json"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(write)
    assert (result.returncode, result.stderr) == (1, "")
