"""Latency of single queries against offered load, through a served cluster: open loop, arrivals at random (Poisson).

A latency counts from the moment that a query was due, not from when this program got round to it, so a server that falls
behind cannot hide it. The query cache is switched off: every query is encoded. Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random

import numpy as np
from real_texts import short_texts
from served_cluster import NO_CACHE, served

from shoal.client import AsyncClient, ShoalError
from shoal.client.embeddings import EmbedTiming
from shoal.workers.encoding import AS_QUERY, load_model
from shoal.workers.runtime import freeze_live_objects

SHARES = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)
CALLERS = 64


@dataclass(frozen=True)
class Point:
    """What was measured at one load."""

    share: float
    """Of the capacity."""
    offered_per_s: float
    answered_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    queries: int
    failed: int


@dataclass(frozen=True)
class Idle:
    """One query at a time, and the bare work of it in this process, in turn."""

    gateway_p50_ms: float
    bare_p50_ms: float

    @property
    def bound_ms(self) -> float:
        """What the gateway is to keep to: a quarter and two milliseconds above the bare work."""
        return 1.25 * self.bare_p50_ms + 2.0


@dataclass(frozen=True)
class FullLoad:
    """64 callers at once. Waits count from a call's arrival at the gateway to the start of its batch."""

    answered_per_s: float
    batch_ms: float
    """The median time that a query's batch took."""
    wait_p50: float
    """In batches of that time, as the next two."""
    wait_p99: float
    wait_longest: float


async def full_load(client: AsyncClient, model: str, texts: Sequence[str], seconds: float) -> FullLoad:
    """64 callers who ask without a pause."""
    ends = time.perf_counter() + seconds
    timings: list[EmbedTiming] = []

    async def caller(number: int) -> None:
        place = number
        while time.perf_counter() < ends:
            timings.append((await client.embed(model, [texts[place % len(texts)]], role="query")).timing)
            place += CALLERS

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    took = time.perf_counter() - began
    batch = statistics.median(one.infer_s for one in timings)
    waits = [(one.total_s - one.infer_s) / batch for one in timings]
    p50, p99 = np.percentile(waits, [50, 99])
    return FullLoad(len(timings) / took, 1000 * batch, float(p50), float(p99), max(waits))


async def point(
    client: AsyncClient, model: str, texts: Sequence[str], share: float, rate: float, seconds: float, rng: Random
) -> Point:
    """Offers `rate` queries a second for `seconds`."""
    latencies: list[float] = []
    failed = 0

    async def ask(text: str, due: float) -> None:
        nonlocal failed
        try:
            await client.embed(model, [text], role="query")
        except ShoalError:
            failed += 1
        else:
            latencies.append(1000 * (time.perf_counter() - due))

    tasks: list[asyncio.Task[None]] = []
    began = due = time.perf_counter()
    while due - began < seconds:
        pause = due - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(ask(texts[len(tasks) % len(texts)], due)))
        due += rng.expovariate(rate)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - began
    p50, p95, p99 = np.percentile(latencies or [float("nan")], [50, 95, 99])
    return Point(share, rate, len(latencies) / took, float(p50), float(p95), float(p99), len(tasks), failed)


async def idle(client: AsyncClient, model: str, texts: Sequence[str], rounds: int) -> Idle:
    """One query at a time through the gateway, and the same in this process, in turn."""
    bare = await asyncio.to_thread(load_model, model, os.cpu_count() or 1)
    bare.init_inference_thread()
    # A full collection of garbage among the model's objects would hold up this program, and seem the server's.
    freeze_live_objects()
    times: dict[str, list[float]] = {"gateway": [], "bare": []}
    for place in range(rounds + 3):
        text = texts[place % len(texts)]
        began = time.perf_counter()
        await client.embed(model, [text], role="query")
        asked = time.perf_counter()
        bare.encode([text], AS_QUERY)
        done = time.perf_counter()
        # The first few warm both up.
        if place >= 3:
            times["gateway"].append(1000 * (asked - began))
            times["bare"].append(1000 * (done - asked))
    return Idle(statistics.median(times["gateway"]), statistics.median(times["bare"]))


async def measure(address: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Runs everything and prints it as it comes."""
    rng = Random(arguments.seed)
    found = short_texts(5000)
    texts = list(found.texts)
    rng.shuffle(texts)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    async with AsyncClient(address, timeout=120) as client:
        await client.embed(arguments.model, texts[:8])
        resting = await idle(client, arguments.model, texts, arguments.rounds)
        full = await full_load(client, arguments.model, texts, arguments.seconds)
        most = full.answered_per_s
        if not arguments.json:
            print(f"{machine}; {arguments.model}; single queries ({found.source})")
            print(
                f"idle: p50 {resting.gateway_p50_ms:.2f} ms through the gateway, {resting.bare_p50_ms:.2f} ms bare; "
                f"goal at most {resting.bound_ms:.2f} ms"
            )
            print(
                f"capacity: {most:.0f} queries/s with {CALLERS} callers, who wait for {full.wait_p50:.1f} batches of "
                f"{full.batch_ms:.1f} ms (p99 {full.wait_p99:.1f}, longest {full.wait_longest:.1f})"
            )
            print("share  offered/s  answered/s    p50 ms    p95 ms    p99 ms  queries  failed")
        points: list[Point] = []
        for share in arguments.shares:
            one = await point(client, arguments.model, texts, share, share * most, arguments.seconds, rng)
            points.append(one)
            if not arguments.json:
                print(
                    f"{one.share:5.2f} {one.offered_per_s:10.1f} {one.answered_per_s:11.1f} {one.p50_ms:9.2f} "
                    f"{one.p95_ms:9.2f} {one.p99_ms:9.2f} {one.queries:8d} {one.failed:7d}",
                    flush=True,
                )
    return {
        "machine": machine,
        "model": arguments.model,
        "texts": found.source,
        "capacity_per_s": most,
        "full_load": asdict(full),
        "idle": {**asdict(resting), "bound_ms": resting.bound_ms},
        "points": [asdict(one) for one in points],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of single queries against offered load.")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=300, help="queries one at a time")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES), help="of the capacity")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--address", help="a server that is running, in place of one of its own (with its cache off)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a few seconds in all, with a model that needs no weights")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.model, arguments.seconds, arguments.rounds, arguments.shares = "hashing:384", 1.0, 20, [0.25, 0.5]
    if arguments.address:
        result = asyncio.run(measure(arguments.address, arguments))
    else:
        with served(NO_CACHE) as address:
            result = asyncio.run(measure(address, arguments))
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
