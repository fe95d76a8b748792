"""Memory of every process, under one of two loads.

`texts`: many texts stream through the gateway. The resident size of each process is read at steady intervals; the table
shows it, and how much it grew after the first fifth, by when models, caches and pools have their size.

`writes`: several connections write large batches, each as fast as the server takes them, while another caller searches.
The table shows the greatest size of each process, and the latency of the searches. Afterwards every document is counted.

Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
from real_texts import short_texts
from served_cluster import served

from shoal.client import Client, Document
from shoal.v1 import documents_pb2
from shoal.v1.documents_pb2_grpc import DocumentServiceStub

LOOKS = 20
MIB = 2**20
TEXT_BYTES = 28 * 1024
SMALL_MODEL = "hashing:256"
BOUNDED = ("gateway", "coordinator")
MACHINE = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def processes(client: Client) -> dict[str, psutil.Process]:
    """The cluster's processes by name, `serve` and this one among them."""
    found = {process.name: psutil.Process(process.pid) for process in client.status().processes if process.pid}
    here = psutil.Process()
    found["client"] = here
    for child in here.children():
        if "serve" in child.cmdline():
            found["serve"] = child
    return found


def stream(texts: list[str], count: int) -> Iterator[str]:
    """Texts one by one, no two of them equal."""
    for number, text in zip(range(count), itertools.cycle(texts), strict=False):
        yield f"{text} {number}"


@dataclass
class Watch:
    """Reads the memory of processes until it is stopped."""

    processes: dict[str, psutil.Process]
    idle: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    most_together: float = 0.0
    stopped: threading.Event = field(default_factory=threading.Event)

    def look(self) -> dict[str, float]:
        """The resident size of each process in MiB."""
        return {name: process.memory_info().rss / MIB for name, process in self.processes.items()}

    def run(self) -> None:
        """Looks 50 times a second."""
        while not self.stopped.wait(0.02):
            sizes = self.look()
            self.most = {name: max(size, self.most.get(name, 0.0)) for name, size in sizes.items()}
            self.most_together = max(self.most_together, sum(sizes[name] for name in self.bounded()))

    def bounded(self) -> list[str]:
        """The processes whose memory is bounded together."""
        return [name for name in self.processes if name.startswith(BOUNDED)]


def batches(stream: int, count: int, documents: int) -> Iterator[documents_pb2.UpsertStreamRequest]:
    """Batches of one stream; no two documents are equal."""
    for number in range(count):
        yield documents_pb2.UpsertStreamRequest(
            collection="written",
            sequence=number,
            documents=[
                documents_pb2.Document(
                    id=f"{stream}-{number}-{one}",
                    text=(f"stream {stream} batch {number} document {one} " * 1000)[:TEXT_BYTES],
                )
                for one in range(documents)
            ],
        )


def upload(address: str, stream: int, count: int, documents: int) -> tuple[int, int]:
    """Sends one stream, again from the first unanswered batch when the server says that it is full; documents, retries."""
    answered, stored, retries = 0, 0, 0
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        while answered < count:
            left = (batch for batch in batches(stream, count, documents) if batch.sequence >= answered)
            try:
                for reply in DocumentServiceStub(channel).UpsertStream(left):
                    stored += len(reply.results)
                    answered += 1
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:  # pyright: ignore[reportAttributeAccessIssue]
                    raise
                retries += 1
                time.sleep(0.5)
    return stored, retries


def search(client: Client, stopped: threading.Event, seconds: list[float]) -> None:
    """Searches again and again until stopped."""
    number = 0
    while not stopped.wait(0.01):
        number += 1
        began = time.perf_counter()
        client.search("read", f"a question {number}", k=10)
        seconds.append(time.perf_counter() - began)


def p99_ms(seconds: list[float]) -> float:
    return 1000 * statistics.quantiles(seconds, n=100)[98]


def measure_texts(model: str, texts: int, role: Any, as_json: bool) -> None:
    found = short_texts(2000)
    sizes: list[dict[str, float]] = []
    with served() as address, Client(address, timeout=120) as client:
        client.embed(model, ["warm up"])
        watched = processes(client)
        began = time.perf_counter()
        done = failed = 0
        step = max(1, texts // LOOKS)
        for block in client.embed_many(model, stream(found.texts, texts), role=role):
            done += len(block)
            failed += len(block.errors)
            if done >= step * (len(sizes) + 1):
                sizes.append({name: process.memory_info().rss / MIB for name, process in watched.items()})
        took = time.perf_counter() - began
    settled = sizes[len(sizes) // 5 :]
    growth = {name: settled[-1][name] - settled[0][name] for name in watched}
    if as_json:
        result = {"machine": MACHINE, "model": model, "texts": done, "failed": failed, "seconds": took}
        print(json.dumps({**result, "rss_mib": sizes, "growth_mib": growth}))
        return
    print(f"{MACHINE}; {model}; {done} texts ({found.source}) in {took:.0f} s, {failed} failed")
    print(f"{'process':32} {'first':>9} {'after 1/5':>9} {'most':>9} {'last':>9} {'growth':>9}  (MiB)")
    for name in watched:
        most = max(size[name] for size in sizes)
        print(
            f"{name:32} {sizes[0][name]:9.1f} {settled[0][name]:9.1f} {most:9.1f} {settled[-1][name]:9.1f} "
            f"{growth[name]:+9.1f}"
        )


def measure_writes(streams: int, count: int, documents: int, as_json: bool) -> None:
    with served() as address, Client(address, timeout=120) as client:
        client.create_collection("read", model=SMALL_MODEL)
        client.create_collection("written", model=SMALL_MODEL)
        client.upsert_many("read", (Document(str(n), f"an answer {n}") for n in range(1000)), wait=True)
        quiet, busy, stopped = list[float](), list[float](), threading.Event()
        with ThreadPoolExecutor(streams + 2) as threads:
            warm = threads.submit(search, client, stopped, quiet)
            time.sleep(5)
            stopped.set()
            warm.result()
            watch = Watch({one.name: psutil.Process(one.pid) for one in client.status().processes if one.pid})
            watch.idle = watch.look()
            looking = threads.submit(watch.run)
            stopped = threading.Event()
            searching = threads.submit(search, client, stopped, busy)
            began = time.perf_counter()
            uploads = [threads.submit(upload, address, number, count, documents) for number in range(streams)]
            results = [one.result() for one in uploads]
            took = time.perf_counter() - began
            stopped.set()
            searching.result()
            watch.stopped.set()
            looking.result()
        stored = client.get_collection("written").documents
    result = {
        "machine": MACHINE,
        "streams": streams,
        "batches": count,
        "batch_documents": documents,
        "sent": streams * count * documents,
        "answered": sum(answered for answered, _ in results),
        "stored": stored,
        "retries": sum(retries for _, retries in results),
        "seconds": took,
        "idle_mib": watch.idle,
        "most_mib": watch.most,
        "above_idle_mib": watch.most_together - sum(watch.idle[name] for name in watch.bounded()),
        "quiet_p99_ms": p99_ms(quiet),
        "busy_p99_ms": p99_ms(busy),
        "searches": len(busy),
    }
    if as_json:
        print(json.dumps(result))
        return
    print(f"{MACHINE}; {streams} streams of {count} batches of {documents} documents of {TEXT_BYTES} bytes in {took:.0f} s")
    print("{sent} sent, {answered} answered, {stored} stored, {retries} retries".format(**result))
    print(f"{'process':32} {'idle':>9} {'most':>9}  (MiB)")
    for name in watch.processes:
        print(f"{name:32} {watch.idle[name]:9.1f} {watch.most[name]:9.1f}")
    print("gateway and coordinator together: {above_idle_mib:.0f} MiB above idle at most".format(**result))
    print("p99 of searches: {quiet_p99_ms:.0f} ms before, {busy_p99_ms:.0f} ms meanwhile ({searches})".format(**result))


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of every process under one of two loads.")
    parser.add_argument("--load", choices=["texts", "writes"], default="texts")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="of texts")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--role", choices=["document", "query"], default="document", help="of texts")
    parser.add_argument("--streams", type=int, default=8, help="of writes")
    parser.add_argument("--batches", type=int, default=8, help="of each stream")
    parser.add_argument("--batch-documents", type=int, default=1000, help=f"documents of {TEXT_BYTES} bytes in a batch")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few texts with a model that needs no weights, or few batches")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.model, arguments.texts, arguments.streams, arguments.batches = "hashing:384", 10_000, 2, 2
    if arguments.load == "texts":
        measure_texts(arguments.model, arguments.texts, arguments.role, arguments.json)
    else:
        measure_writes(arguments.streams, arguments.batches, arguments.batch_documents, arguments.json)


if __name__ == "__main__":
    main()
