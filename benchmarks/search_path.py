"""One query through an idle gateway against the same work in one process: sentence-transformers and an exact scan.

Both run in turn in this process tree, several rounds; medians and their ratio are printed. The query cache is off, for the
questions come again and again. Quick: `--documents 500`.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from served_cluster import NO_CACHE, served

from shoal.client import Client, Document
from shoal.client.samples import documents as sample_documents
from shoal.workers.encoding import packaged_folder

MODEL = "all-MiniLM-L6-v2"
QUESTIONS = [
    "how do I pack a folder into a compressed file?",
    "run a job at the same time every day",
    "which program is using all my disk space?",
    "show the last lines of a log file",
    "copy files to another machine over ssh",
]


def milliseconds(call: Callable[[str], object], repeats: int) -> list[float]:
    """Times of one call for each question, `repeats` times over."""
    times = []
    for question in QUESTIONS * repeats:
        begun = time.perf_counter()
        call(question)
        times.append((time.perf_counter() - begun) * 1000)
    return times


def main() -> None:
    """Prints one line of figures for each round, then the medians and the ratio."""
    parser = argparse.ArgumentParser(description="Latency of one query, gateway against in-process.")
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    chosen = list(sample_documents())[: arguments.documents]

    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(packaged_folder(f"sentence-transformers/{MODEL}")), device="cpu")
    matrix = np.asarray(model.encode([one.text for one in chosen], normalize_embeddings=True))

    def in_process(question: str) -> object:
        return np.argsort(-(matrix @ np.asarray(model.encode(question, normalize_embeddings=True))))[:10]

    with served(NO_CACHE) as address, Client(address, timeout=300) as shoal:
        shoal.create_collection("bench", model=MODEL)
        shoal.upsert_many("bench", (Document(id=one.id, text=one.text) for one in chosen), wait=True, timeout=1800)
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(arguments.rounds):
            ours += milliseconds(lambda question: shoal.search("bench", question, k=10), arguments.repeats)
            theirs += milliseconds(in_process, arguments.repeats)
            print(f"round {number + 1}: {statistics.median(ours):.1f} ms, {statistics.median(theirs):.1f} ms")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {len(chosen)} documents, {MODEL}, k=10")
    print(f"gateway: p50 {statistics.median(ours):.1f} ms, p95 {np.percentile(ours, 95):.1f} ms")
    print(f"in process: p50 {statistics.median(theirs):.1f} ms, p95 {np.percentile(theirs, 95):.1f} ms")
    print(f"ratio of medians: {statistics.median(ours) / statistics.median(theirs):.2f}")


if __name__ == "__main__":
    main()
