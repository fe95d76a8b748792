"""The part of gpu_check.py that measures the encoder: random weights, made-up words, texts of exactly one length."""

from __future__ import annotations

import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from encode import running_engine, timed
from encode_gpu import PEAKS, SIZES, Size

LENGTHS = (32, 128, 512)
WORDS = 28_000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LOWEST_COSINE = 0.99
"""Between Shoal's vectors and the peer's, both computed in 16 bits."""
BATCH_SIZES = (64, 256, 1024)
PASS_SECONDS = 1.5
ROUNDS = 5
QUICK_SIZES = [Size("MiniLM size", 1, 64, 4, 128), Size("BERT-large size", 2, 128, 8, 256)]


def made_up_words(count: int) -> list[str]:
    """Distinct words of three syllables."""
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwxyz" for vowel in "aeiou"]
    digits = [
        (number // 10_000, number // 100 % 100, number % 100) for number in (n * 33_331 % 1_000_000 for n in range(count))
    ]
    return ["".join(syllables[digit] for digit in each) for each in digits]


def write_model(folder: Path, size: Size, max_tokens: int) -> None:
    """A sentence-transformers folder of a BERT with random weights, whose tokenizer has one token for each made-up word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = [*SPECIAL, *made_up_words(WORDS)]
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_tokens, **names)
    fast.save_pretrained(str(folder))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.inner,
    )
    BertModel(config).save_pretrained(str(folder))
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
    listed = [
        {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for name, path, kind in modules
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens, "do_lower_case": False}))
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    pooling_settings = {"word_embedding_dimension": size.hidden, "pooling_mode_mean_tokens": True}
    (pooling / "config.json").write_text(json.dumps(pooling_settings))


def made_up_texts(count: int, tokens: int) -> list[str]:
    """Texts that the tokenizer turns into exactly `tokens` tokens, the two around each text included."""
    words, draw = made_up_words(WORDS), np.random.default_rng(tokens)
    # A word's frequency falls with its rank, as in real text.
    ranks = (WORDS ** draw.random((count, tokens - 2))).astype(int)
    return [" ".join(words[rank] for rank in row) for row in ranks]


def fitting_count(encode: Callable[[Sequence[str]], Any], tokens: int, quick: bool) -> int:
    """How many texts are encoded in about `PASS_SECONDS`."""
    if quick:
        return 24
    texts = made_up_texts(1024, tokens)
    encode(texts[:64])
    return int(min(100_000, max(256, PASS_SECONDS * len(texts) / timed(encode, texts))))


class Sides:
    """Shoal's engine and the peer, with the same model."""

    def __init__(self, size: Size, device: str) -> None:
        from sentence_transformers import SentenceTransformer

        cores = os.cpu_count() or 1
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model"
            write_model(model, size, max(LENGTHS))
            self.engine = running_engine(str(model), cores, None, tokenizer_threads=max(1, cores - 2))
            self.peer = SentenceTransformer(str(model), device=device, model_kwargs={"dtype": torch.bfloat16})

    def ours(self, texts: Sequence[str]) -> Any:
        return self.engine.submit(texts).result().encoded

    def theirs(self, texts: Sequence[str], batch: int) -> Any:
        return self.peer.encode(list(texts), batch_size=batch)

    def best_batch(self, texts: Sequence[str], quick: bool) -> int:
        """The batch size with which the peer is fastest, judged by a part of the texts."""
        some = texts[: max(64, len(texts) // 4)]
        times = {
            size: timed(lambda texts, size=size: self.theirs(texts, size), some)
            for size in ((8, 16) if quick else BATCH_SIZES)
        }
        return min(times, key=times.__getitem__)


def measure_encoder(index: int, quick: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each length of text. A length that fails does not keep the next from being measured."""
    begun = time.monotonic()
    logging.disable(logging.WARNING)
    size = (QUICK_SIZES if quick else SIZES)[index]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sides = Sides(size, device)
    for number, tokens in enumerate(LENGTHS, start=1):
        # Of the time that is left at 80 %, each length has an equal share.
        ends = time.monotonic() + (begun + 0.8 * seconds - time.monotonic()) / (len(LENGTHS) - number + 1)
        try:
            yield measured(sides, size, tokens, quick, ends)
        except Exception as error:
            yield {"name": f"{size.name}, {tokens} tokens", "note": f"{type(error).__name__}: {error}"[:300], "ok": False}
    sides.engine.close()


def measured(sides: Sides, size: Size, tokens: int, quick: bool, ends: float) -> dict[str, Any]:
    """Medians over rounds in which both take turns; no round begins after `ends`, on the monotonic clock."""
    texts = made_up_texts(fitting_count(sides.ours, tokens, quick), tokens)
    batch = sides.best_batch(texts, quick)
    spent: dict[str, list[float]] = {"ours": [], "peer": []}
    while len(spent["peer"]) < (2 if quick else ROUNDS) and (not spent["peer"] or time.monotonic() < ends):
        spent["ours"].append(timed(sides.ours, texts))
        spent["peer"].append(timed(lambda some: sides.theirs(some, batch), texts))
    encoded = sides.ours(texts[:64])
    cosine = lowest_cosine(encoded.vectors, sides.theirs(texts[:64], batch))
    medians = {side: statistics.median(times) for side, times in spent.items()}
    total = tokens * len(texts)
    tflops = size.flops(total, tokens) / medians["ours"] / 1e12
    peak = peak_tflops()
    note = (
        f"{sides.engine.describe().device}; peer in batches of {batch}; {tflops:.1f} TFLOP/s; cosine at least {cosine:.4f}"
    )
    lengths = sorted({int(count) for count in encoded.tokens})
    if lengths != [tokens]:
        note += f"; texts have {lengths} tokens and not {tokens}"
    return {
        "name": f"{size.name}, {tokens} tokens",
        "ours": f"{total / medians['ours']:,.0f} tokens/s",
        "peer": f"{total / medians['peer']:,.0f} tokens/s",
        "ratio": medians["peer"] / medians["ours"],
        "peak_share": tflops / peak if peak else None,
        "note": note,
        "ok": cosine >= LOWEST_COSINE and lengths == [tokens],
        "texts": len(texts),
        "seconds": spent,
        "tflops": tflops,
        "lowest_cosine": cosine,
    }


def lowest_cosine(ours: np.ndarray, peer: np.ndarray) -> float:
    peer = np.asarray(peer, dtype=np.float32)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(peer, axis=1)
    return float(((ours * peer).sum(axis=1) / norms).min())


def peak_tflops() -> float | None:
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((tflops for card, tflops in PEAKS.items() if all(word in name for word in card.split())), None)
