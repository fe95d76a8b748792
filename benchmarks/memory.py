"""Memory of every process while texts stream through the gateway: it stays flat, however many they are.

The resident size of each process is read at steady intervals; the table shows it, and how much it grew after the first
fifth, by when models, caches and pools have their size. Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Iterator

import psutil
from real_texts import short_texts
from served_cluster import served

from shoal.client import Client

LOOKS = 20
MIB = 2**20


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory of every process over a long stream of texts.")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--role", choices=["document", "query"], default="document")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few texts, with a model that needs no weights")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.model, arguments.texts = "hashing:384", 10_000
    found = short_texts(2000)
    sizes: list[dict[str, float]] = []
    with served() as address, Client(address, timeout=120) as client:
        client.embed(arguments.model, ["warm up"])
        watched = processes(client)
        began = time.perf_counter()
        done = failed = 0
        step = max(1, arguments.texts // LOOKS)
        for block in client.embed_many(arguments.model, stream(found.texts, arguments.texts), role=arguments.role):
            done += len(block)
            failed += len(block.errors)
            if done >= step * (len(sizes) + 1):
                sizes.append({name: process.memory_info().rss / MIB for name, process in watched.items()})
        took = time.perf_counter() - began
    settled = sizes[len(sizes) // 5 :]
    growth = {name: settled[-1][name] - settled[0][name] for name in watched}
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if arguments.json:
        result = {"machine": machine, "model": arguments.model, "texts": done, "failed": failed, "seconds": took}
        print(json.dumps({**result, "rss_mib": sizes, "growth_mib": growth}))
        return
    print(f"{machine}; {arguments.model}; {done} texts ({found.source}) in {took:.0f} s, {failed} failed")
    print(f"{'process':32} {'first':>9} {'after 1/5':>9} {'most':>9} {'last':>9} {'growth':>9}  (MiB)")
    for name in watched:
        most = max(size[name] for size in sizes)
        print(
            f"{name:32} {sizes[0][name]:9.1f} {settled[0][name]:9.1f} {most:9.1f} {settled[-1][name]:9.1f} "
            f"{growth[name]:+9.1f}"
        )


if __name__ == "__main__":
    main()
