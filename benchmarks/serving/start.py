"""How long `shoal serve` takes until it is ready, and how much CPU time each of its processes takes for that.

On an empty data folder, and again on one with documents (hashing model, default settings). Wall time depends on what else
the machine does; CPU time hardly does. "first search" is the time from ready to an answer that covers all documents.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from shoal.client import Client, Document

MODEL = "hashing:64"
NAME = "documents"
WAIT_S = 600.0


class Serve:
    """A `shoal serve` in a session of its own, until it is stopped."""

    def __init__(self, data: Path) -> None:
        """Returns when it is ready."""
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        begun = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shoal.client.cli", "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.seconds = time.monotonic() - begun
        if not line:
            raise SystemExit(f"serve ended with {self._process.wait()}")
        self.address: str = json.loads(line)["address"]
        self.cpu = self._cpu_seconds()

    def stop(self) -> None:
        """Ends it with all its processes."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.wait(30)

    def _cpu_seconds(self) -> dict[str, float]:
        """By the name of the process, with its children that have ended."""
        found: dict[str, float] = defaultdict(float)
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[_name(process)] += times.user + times.system + times.children_user + times.children_system
        return {name: round(seconds, 2) for name, seconds in found.items()}

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    yield process


def _name(process: psutil.Process) -> str:
    words = process.cmdline() or [process.name()]
    if words[0].startswith("ray::"):
        return words[0].partition("(")[0]
    if "shoal.client.cli" in words:
        return "shoal serve"
    scripts = [Path(word).name for word in words[:4] if word.endswith((".py", "gcs_server", "raylet"))]
    return scripts[0] if scripts else Path(words[0]).name


def fill(data: Path, documents: int) -> None:
    """Makes a collection and waits until all documents are searchable."""
    serve = Serve(data)
    with Client(serve.address, timeout=WAIT_S) as client:
        client.create_collection(NAME, model=MODEL)
        texts = (
            Document(f"d{number}", f"document {number} of {number % 97} and {number % 1009}") for number in range(documents)
        )
        client.upsert_many(NAME, texts)
        deadline = time.monotonic() + WAIT_S
        while client.get_collection(NAME).pending:
            if time.monotonic() > deadline:
                raise SystemExit(f"{client.get_collection(NAME).pending} documents are still pending after {WAIT_S:g} s")
            time.sleep(0.5)
    serve.stop()


def first_search(address: str) -> float:
    """Seconds until a search covers all documents."""
    begun = time.monotonic()
    with Client(address, timeout=WAIT_S) as client:
        while not client.search(NAME, "document 7", k=3, min_coverage=0).coverage.complete:
            time.sleep(0.02)
    return time.monotonic() - begun


def measure(data: Path, rounds: int, searches: bool) -> dict[str, Any]:
    """Medians over some starts."""
    seconds, searched, cpu = [], [], []
    for _ in range(rounds):
        serve = Serve(data)
        seconds.append(serve.seconds)
        cpu.append(serve.cpu)
        if searches:
            searched.append(first_search(serve.address))
        serve.stop()
    names = sorted({name for one in cpu for name in one}, key=lambda name: -cpu[0].get(name, 0))
    result: dict[str, Any] = {
        "ready_s": round(statistics.median(seconds), 2),
        "cpu_s": round(statistics.median(sum(one.values()) for one in cpu), 2),
        "cpu_s_by_process": {name: round(statistics.median(one.get(name, 0.0) for one in cpu), 2) for name in names},
    }
    return result | ({"first_search_s": round(statistics.median(searched), 2)} if searched else {})


def main() -> None:
    """Prints the medians of both starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="0 measures the empty folder only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="a folder with documents from an earlier run; filled if it is new")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        fresh = []
        for number in range(arguments.rounds):
            fresh.append(measure(Path(scratch) / f"empty-{number}", 1, searches=False))
        results["empty"] = {
            "ready_s": statistics.median(one["ready_s"] for one in fresh),
            "cpu_s": statistics.median(one["cpu_s"] for one in fresh),
            "cpu_s_by_process": fresh[0]["cpu_s_by_process"],
        }
        if arguments.documents:
            data = arguments.data or Path(scratch) / "filled"
            if not data.exists():
                fill(data, arguments.documents)
            results[f"{arguments.documents} documents"] = measure(data, arguments.rounds, searches=True)
    if arguments.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(f"{name}: ready after {result['ready_s']:.2f} s, {result['cpu_s']:.2f} s of CPU time")
        if "first_search_s" in result:
            print(f"  first search over all documents {result['first_search_s']:.2f} s after that")
        for process, seconds in result["cpu_s_by_process"].items():
            print(f"  {seconds:6.2f} s  {process}")


if __name__ == "__main__":
    main()
