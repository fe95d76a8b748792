"""Memory of every process, and the latency of another caller, while streams of large batches are written.

Each stream has a connection of its own and sends its batches as fast as the server takes them. Meanwhile another caller
searches another collection. Afterwards every document is counted, so that nothing is lost. Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import psutil
from served_cluster import served

from shoal.client import Client, Document
from shoal.v1 import documents_pb2
from shoal.v1.documents_pb2_grpc import DocumentServiceStub

MIB = 2**20
TEXT_BYTES = 28 * 1024
MODEL = "hashing:256"
BOUNDED = ("gateway", "coordinator")


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and latency while streams of large batches are written.")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--batches", type=int, default=8, help="per stream")
    parser.add_argument("--batch-mib", type=int, default=28)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two streams of two batches")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.streams, arguments.batches = 2, 2
    documents = arguments.batch_mib * MIB // TEXT_BYTES
    documents = min(documents, 1000)
    with served() as address, Client(address, timeout=120) as client:
        client.create_collection("read", model=MODEL)
        client.create_collection("written", model=MODEL)
        client.upsert_many("read", (Document(str(n), f"an answer {n}") for n in range(1000)), wait=True)
        quiet, busy, stopped = list[float](), list[float](), threading.Event()
        with ThreadPoolExecutor(arguments.streams + 2) as threads:
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
            uploads = [
                threads.submit(upload, address, stream, arguments.batches, documents) for stream in range(arguments.streams)
            ]
            results = [one.result() for one in uploads]
            took = time.perf_counter() - began
            stopped.set()
            searching.result()
            watch.stopped.set()
            looking.result()
        sent = arguments.streams * arguments.batches * documents
        answered, retries = sum(stored for stored, _ in results), sum(again for _, again in results)
        stored = client.get_collection("written").documents
    above = watch.most_together - sum(watch.idle[name] for name in watch.bounded())
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if arguments.json:
        print(
            json.dumps(
                {
                    "machine": machine,
                    "streams": arguments.streams,
                    "batches": arguments.batches,
                    "batch_documents": documents,
                    "sent": sent,
                    "answered": answered,
                    "stored": stored,
                    "retries": retries,
                    "seconds": took,
                    "idle_mib": watch.idle,
                    "most_mib": watch.most,
                    "above_idle_mib": above,
                    "quiet_p99_ms": p99_ms(quiet),
                    "busy_p99_ms": p99_ms(busy),
                    "searches": len(busy),
                }
            )
        )
        return
    size = f"{arguments.streams} streams of {arguments.batches} batches of {documents} documents of {TEXT_BYTES} bytes"
    print(f"{machine}; {size} in {took:.0f} s; {sent} sent, {answered} answered, {stored} stored, {retries} retries")
    print(f"{'process':20} {'idle':>9} {'most':>9}  (MiB)")
    for name in watch.processes:
        print(f"{name:20} {watch.idle[name]:9.1f} {watch.most[name]:9.1f}")
    print(f"gateway and coordinator together: {above:.0f} MiB above idle at most")
    print(f"p99 of another caller's searches: {p99_ms(quiet):.0f} ms before, {p99_ms(busy):.0f} ms meanwhile ({len(busy)})")


if __name__ == "__main__":
    main()
