import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shoal.client.cli import main
from shoal.client.cli.demo import demo as demo_module
from shoal.client.cli.demo import demo_server

TESTS = Path(__file__).parents[2]
FAKE = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(TESTS)!r}); from support.gateway.client_server import main; main()",
]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(demo_server, "serve_command", lambda data: FAKE)
    return tmp_path


def test_the_demo_shows_its_claims_and_leaves_nothing(scratch: Path):
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("  yes  ") == 3 and "  NO " not in result.stdout
    assert "finds common/crontab first, in its new version 2" in result.stdout
    assert "How fresh that answer is: searched 1200 of 1200 documents, no changes pending." in result.stdout
    assert list(scratch.iterdir()) == []


def test_the_demo_in_json(scratch: Path):
    result = CliRunner().invoke(main, ["demo", "--json", "--keep"])
    report = json.loads(result.stdout)
    assert set(report["claims"].values()) == {True} and len(report["claims"]) == 3
    assert [answer["question"] for answer in report["answers"]][:3] == list(demo_module.QUESTIONS)
    (kept,) = scratch.iterdir()
    assert str(kept) in result.stderr
    assert "serving, says the log" in (kept / "server.log").read_text()


def test_a_claim_that_is_not_true_fails_the_demo(monkeypatch: pytest.MonkeyPatch, scratch: Path):
    # A question on another topic does not find the edited page first.
    monkeypatch.setattr(demo_module, "NEW_QUESTION", "firewall rules")
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1
    assert result.stdout.count("  NO   ") == 1
    assert "did not show what it should: a question for the new text finds" in result.stderr
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "code", ["import sys; sys.stderr.write('no ray here'); sys.exit(3)", "print('{'); import sys; sys.exit('no ray here')"]
)
def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, scratch: Path, code: str):
    monkeypatch.setattr(demo_server, "serve_command", lambda data: [sys.executable, "-c", code])
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1
    assert "no ray here" in result.stderr
    assert "the server ended before it was ready, with exit code" in result.stderr
    assert list(scratch.iterdir()) == []


def test_a_server_that_is_never_ready(monkeypatch: pytest.MonkeyPatch, scratch: Path):
    monkeypatch.setattr(demo_server, "serve_command", lambda data: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(demo_server, "READY_S", 0.3)
    result = CliRunner().invoke(main, ["demo"])
    assert (result.exit_code, "was not ready after 0.3 s" in result.stderr) == (1, True)


def test_a_server_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_server, "STOP_S", 0.3)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code += """print('{"event": "ready", "address": "here:1"}', flush=True); time.sleep(60)"""
    with demo_server.DemoServer([sys.executable, "-c", code], tmp_path / "log") as server:
        assert server.address() == "here:1"
        assert server.stop() == -signal.SIGKILL


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_demo_with_its_server(scratch: Path, number: int, exit_code: int):
    # The server prints its process id and never says that it is ready.
    code = "import os, time; open(os.environ['PID_FILE'], 'w').write(str(os.getpid())); time.sleep(60)"
    script = (
        "import sys; from shoal.client.cli import main; from shoal.client.cli.demo import demo_server; "
        f"demo_server.serve_command = lambda data: [sys.executable, '-c', {code!r}]; main(['demo'])"
    )
    pid_file = scratch / "pid"
    environment = {**os.environ, "PID_FILE": str(pid_file), "TMPDIR": str(scratch)}
    demo = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    demo.send_signal(number)
    _, stderr = demo.communicate(timeout=60)
    assert demo.returncode == exit_code, stderr
    assert "Traceback" not in stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
    assert [path.name for path in scratch.iterdir()] == ["pid"]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_the_server_is_started_ends_it_too(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, number: int, exit_code: int
):
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **options))
        signal.raise_signal(number)
        return started[0]

    monkeypatch.setattr(demo_server, "serve_command", lambda data: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.getsignal(number)
    try:
        assert CliRunner().invoke(main, ["demo"]).exit_code == exit_code
        assert started[0].poll() == -signal.SIGTERM
    finally:
        started[0].kill()
    assert signal.getsignal(number) is before
    assert list(scratch.iterdir()) == []


def test_a_server_may_be_started_in_any_thread(tmp_path: Path):
    def start() -> str:
        with demo_server.DemoServer(FAKE, tmp_path / "log") as server:
            return server.address()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(start).result(timeout=60).startswith("127.0.0.1:")
