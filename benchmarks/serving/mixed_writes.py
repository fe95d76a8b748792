"""How long documents wait until they are searchable while others are edited all the time (hashing model).

One thread edits documents that exist, one adds new documents, both at a fixed rate. Meanwhile single documents are written
with `wait=True`, alternately a new one and an edit, and others without: the time until a replica of the shard serves them is
found by asking again and again. "late" is how far the two threads fell behind their rates.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from served_cluster import served

from shoal.client import Client, Document

NAME, MODEL = "documents", "hashing:64"
STORED = 5_000
ROUNDS_PER_S = 10
POLL_S = 0.005
LONGEST_S = 60.0


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def paced(seconds: float, per_second: float) -> Iterator[tuple[int, float]]:
    """Yields the number of a round and how late it is, at a fixed rate."""
    begun = time.monotonic()
    for number in range(int(seconds * per_second)):
        due = begun + number / per_second
        time.sleep(max(0.0, due - time.monotonic()))
        yield number, time.monotonic() - due


class Load:
    """What is written while single documents are timed."""

    def __init__(self, address: str, edits: int, new: int, seconds: float) -> None:
        self._address = address
        self._seconds = seconds
        self.late: dict[str, float] = {}
        self.waits: list[float] = []
        self._waiting = ThreadPoolExecutor(32)
        self._threads = [
            threading.Thread(target=self._write, args=("edits", edits // ROUNDS_PER_S, self._edited)),
            threading.Thread(target=self._write, args=("new", new // ROUNDS_PER_S, self._added)),
        ]

    def run(self, meanwhile: Callable[[], None]) -> None:
        for thread in self._threads:
            thread.start()
        meanwhile()
        for thread in self._threads:
            thread.join()
        self._waiting.shutdown()

    def _write(self, kind: str, size: int, documents: Callable[[int, int], list[Document]]) -> None:
        worst = 0.0
        with Client(self._address, timeout=LONGEST_S) as client:
            for number, late in paced(self._seconds, ROUNDS_PER_S):
                worst = max(worst, late)
                token = client.upsert(NAME, documents(number, size))
                if kind == "new":
                    self._waiting.submit(self._time, str(token), time.monotonic())
        self.late[kind] = round(worst, 2)

    def _time(self, token: str, written: float) -> None:
        with Client(self._address, timeout=LONGEST_S) as client:
            client.search(NAME, "text", k=1, token=token)
        self.waits.append(time.monotonic() - written)

    def _edited(self, number: int, size: int) -> list[Document]:
        return [Document(str((number * size + n) % STORED), f"edit {number} of text {n}") for n in range(size)]

    def _added(self, number: int, size: int) -> list[Document]:
        return [Document(f"new-{number}-{n}", f"new text {number} {n}") for n in range(size)]


def time_single_writes(address: str, seconds: float) -> dict[str, list[float]]:
    """Seconds that `wait=True` took, and until documents written without it were served."""
    found: dict[str, list[float]] = {"wait": [], "searchable": []}
    with Client(address, timeout=LONGEST_S) as client:
        for number, _ in paced(seconds, 4):
            # Half of them are new, half are edits.
            id = f"timed-{number}" if number % 4 < 2 else f"timed-{number % 2}"
            document = Document(id, f"timed text {number}")
            begun = time.monotonic()
            if number % 2:
                client.upsert(NAME, [document], wait=True)
                found["wait"].append(time.monotonic() - begun)
                continue
            version = client.upsert(NAME, [document]).results[0].version
            while (client.explain(NAME, id).generations[0].served_version or 0) < version:
                time.sleep(POLL_S)
            found["searchable"].append(time.monotonic() - begun)
    return found


def measure(edits: int, new: int, seconds: float) -> dict[str, float]:
    with served() as address, Client(address, timeout=300) as client:
        client.create_collection(NAME, model=MODEL)
        client.upsert_many(NAME, [Document(str(n), f"text {n}") for n in range(STORED)], wait=True)
        timed: dict[str, list[float]] = {}
        load = Load(address, edits, new, seconds)
        load.run(lambda: timed.update(time_single_writes(address, seconds)))
        stored = client.get_collection(NAME).documents
    figures = {f"{name} {label}": round(percentile(values, share), 3) for name, values in timed.items()
               for label, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}  # fmt: skip
    figures |= {"new documents p50": round(median(load.waits), 3), "new documents max": round(max(load.waits), 3)}
    figures |= {f"late {kind}": late for kind, late in load.late.items()}
    figures["stored"] = stored
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description="How long documents wait until they are searchable while others are edited."
    )
    parser.add_argument("--edits", type=int, default=500, help="edits a second")
    parser.add_argument("--new", type=int, default=50, help="new documents a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true", help="10 seconds")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    options = parser.parse_args()
    figures = measure(options.edits, options.new, 10.0 if options.quick else options.seconds)
    if options.as_json:
        print(json.dumps(figures))
        return
    print(f"{options.edits} edits/s, {options.new} new documents/s; seconds")
    for name, value in figures.items():
        print(f"  {name:24} {value}")


if __name__ == "__main__":
    main()
