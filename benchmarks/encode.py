"""The encoder on this machine's CPU against sentence-transformers' `encode`, with its defaults and at its best batch size.

Both take their turns in this process, several rounds over; medians and ratios are printed, and how near the vectors are.
Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from real_texts import TextSet, text_sets

from shoal.workers.encoding import EncoderEngine, EngineState, Precision, load_model, packaged_folder

MODEL = "all-MiniLM-L6-v2"
BATCH_SIZES = (4, 8, 16, 64)

Encode = Callable[[Sequence[str]], np.ndarray]


def running_engine(model: str, threads: int, precision: Precision | None, tokenizer_threads: int = 1) -> EncoderEngine:
    """An engine that is ready."""
    engine = EncoderEngine(
        model, load=lambda progress: load_model(model, threads, precision), tokenizer_threads=tokenizer_threads
    )
    engine.start()
    while engine.describe().state is EngineState.LOADING:
        time.sleep(0.05)
    if engine.describe().state is EngineState.FAILED:
        raise SystemExit(engine.describe().error)
    return engine


def ours(engine: EncoderEngine) -> Encode:
    return lambda texts: engine.submit(texts).result().encoded.vectors


def timed(encode: Encode, texts: Sequence[str]) -> float:
    begun = time.perf_counter()
    encode(texts)
    return time.perf_counter() - begun


def best_batch_size(model: object, texts: Sequence[str], sizes: Sequence[int] = BATCH_SIZES) -> int:
    """The batch size with which sentence-transformers encodes these texts in the shortest time."""
    times = {size: timed(lambda some, size=size: model.encode(some, batch_size=size), texts) for size in sizes}  # type: ignore[attr-defined]
    return min(times, key=times.__getitem__)


def main() -> None:
    """Prints a row for each set of texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="short texts; of the longer ones about as many tokens")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="few texts, two rounds")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.texts, arguments.rounds = 200, 2
    logging.disable(logging.WARNING)

    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(arguments.threads)
    folder = str(packaged_folder(f"sentence-transformers/{MODEL}"))
    peer = SentenceTransformer(folder, device="cpu")
    peer16 = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    engines = {
        "float32": running_engine(MODEL, arguments.threads, Precision.FLOAT32),
        "fastest": running_engine(MODEL, arguments.threads, None),
    }
    rows = [measured(texts, peer, peer16, engines, arguments.rounds) for texts in text_sets(arguments.texts)]
    for engine in engines.values():
        engine.close()
    about = (
        f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}, {MODEL}, {arguments.rounds} rounds"
    )
    if arguments.json:
        print(json.dumps({"machine": about, "fastest": engines["fastest"].describe().device, "sets": rows}))
        return
    print(f"{about}; fastest: {engines['fastest'].describe().device}")
    for row in rows:
        print(
            f"{row['set']:7} {row['texts']} texts of {row['mean_tokens']:.0f} tokens ({row['source']})\n"
            f"        sentence-transformers {row['peer']:8.0f} tokens/s, at its best (batches of {row['best_batch']}) "
            f"{row['peer_best']:.0f}, in bfloat16 {row['peer_bfloat16']:.0f}\n"
            f"        float32               {row['float32']:8.0f} tokens/s  {row['float32_ratio']:.2f} x its defaults, "
            f"{row['float32_best_ratio']:.2f} x its best; vectors differ by at most {row['float32_difference']:.1e}\n"
            f"        fastest               {row['fastest']:8.0f} tokens/s  {row['fastest_ratio']:.2f} x its defaults, "
            f"{row['fastest_best_ratio']:.2f} x its best; cosine at least {row['fastest_cosine']:.5f}"
        )


def measured(
    texts: TextSet, peer: object, peer16: object, engines: dict[str, EncoderEngine], rounds: int
) -> dict[str, object]:
    """Rates in tokens/s, medians over the rounds, and ratios of medians."""
    size = best_batch_size(peer, texts.texts)
    sides: dict[str, Encode] = {
        "peer": lambda some: peer.encode(some),  # type: ignore[attr-defined]
        "peer_best": lambda some: peer.encode(some, batch_size=size),  # type: ignore[attr-defined]
        "peer_bfloat16": lambda some: peer16.encode(some),  # type: ignore[attr-defined]
        **{name: ours(engine) for name, engine in engines.items()},
    }
    reference = np.asarray(sides["peer"](texts.texts))
    answer = engines["float32"].submit(texts.texts).result().encoded
    fastest = engines["fastest"].submit(texts.texts).result().encoded.vectors
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, encode in sides.items():
            times[name].append(timed(encode, texts.texts))
    tokens = sum(answer.tokens)
    rate = {name: tokens / statistics.median(spent) for name, spent in times.items()}
    return {
        "set": texts.name,
        "source": texts.source,
        "texts": len(texts.texts),
        "mean_tokens": tokens / len(texts.texts),
        "best_batch": size,
        **rate,
        "texts_per_s": {name: len(texts.texts) / statistics.median(spent) for name, spent in times.items()},
        "float32_ratio": rate["float32"] / rate["peer"],
        "float32_best_ratio": rate["float32"] / rate["peer_best"],
        "float32_difference": float(np.abs(answer.vectors - reference).max()),
        "fastest_ratio": rate["fastest"] / rate["peer"],
        "fastest_best_ratio": rate["fastest"] / rate["peer_best"],
        "fastest_cosine": float((fastest * reference).sum(axis=1).min()),
    }


if __name__ == "__main__":
    main()
