"""The part of gpu_check.py that measures Word2Vec: the CUDA learner against one thread of gensim, on the same text."""

from __future__ import annotations

import lzma
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu.encoder import made_up_words
from word2vec_corpus import Result, encode, train
from word2vec_gpu import LEASE_SPANS, train_gensim

from shoal.workers.training.word2vec import Tables, TorchLearner, Vocabulary, Word2VecSettings

TOPICS, SENTENCE_WORDS = 40, 25
LINE_WORDS = 1000
JUDGED_WORDS = 2000
KEPT_QUALITY = 0.9
"""Share of gensim's separation of topics that Shoal's vectors must reach."""


def write_made_up_text(path: Path, words: int, vocabulary: int) -> None:
    """Sentences that are each of one topic; word number n is of topic n modulo `TOPICS`, and frequencies fall with rank."""
    names, draw = np.array(made_up_words(vocabulary)), np.random.default_rng(1)
    sentences = words // SENTENCE_WORDS
    ranks = ((vocabulary // TOPICS) ** draw.random((sentences, SENTENCE_WORDS))).astype(int) - 1
    numbers = ranks * TOPICS + draw.integers(0, TOPICS, (sentences, 1))
    per_line = LINE_WORDS // SENTENCE_WORDS
    with path.open("w", encoding="utf-8") as file:
        for at in range(0, sentences, per_line):
            file.write(" ".join(names[numbers[at : at + per_line].ravel()]) + "\n")


def write_text(corpus: Path, path: Path, words: int) -> None:
    """The first `words` words of `corpus`, `LINE_WORDS` in a line."""
    with lzma.open(corpus, "rt", encoding="utf-8") if corpus.suffix == ".xz" else corpus.open(encoding="utf-8") as file:
        tokens = file.read(8 * words).split()[:words]
    lines = (" ".join(tokens[at : at + LINE_WORDS]) for at in range(0, len(tokens), LINE_WORDS))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def topic_separation(vocabulary: Vocabulary, vectors: np.ndarray) -> float:
    """Mean cosine of two common words of one topic, less that of two words of different topics."""
    topics = {word: number % TOPICS for number, word in enumerate(made_up_words(JUDGED_WORDS * 4))}
    kept = [place for place, word in enumerate(vocabulary.words[:JUDGED_WORDS]) if word in topics]
    unit = vectors[kept] / np.linalg.norm(vectors[kept], axis=1, keepdims=True)
    topic = np.array([topics[vocabulary.words[place]] for place in kept])
    cosines, same = unit @ unit.T, topic[:, None] == topic
    return float(cosines[same & ~np.eye(len(kept), dtype=bool)].mean() - cosines[~same].mean())


def measure_word2vec(corpus: Path | None, quick: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """A row for each dimension. gensim trains once, since one thread takes long; ours three times, the median counts."""
    begun = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    words, vocabulary, dims = (150_000, 2_000, (32,)) if quick else (8_000_000, 30_000, (100, 300))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        if corpus is None:
            write_made_up_text(text, words, vocabulary)
        else:
            write_text(corpus, text, words)
        for number, dim in enumerate(dims):
            # The second dimension begins only if it can end: it takes about twice as long as the first.
            if number and time.monotonic() - begun > seconds / 3:
                break
            settings = Word2VecSettings(dim=dim, epochs=3 if quick else 1)
            yield measured(text, settings, device, corpus is None)


def measured(text: Path, settings: Word2VecSettings, device: str, made_up: bool) -> dict[str, Any]:
    vocabulary, spans = encode(text, settings)
    leases = [np.concatenate(spans[at : at + LEASE_SPANS]) for at in range(0, len(spans), LEASE_SPANS)]
    tables = Tables.initial(len(vocabulary.words), settings.dim, settings.seed)
    ours: list[Result] = []
    for _ in range(3):
        learner = TorchLearner(settings, vocabulary.counts, tables, device=device)
        ours.append(train(learner, leases, settings))
    rate = statistics.median(result.words_per_s for result in ours)
    finite = bool(np.isfinite(ours[0].vectors).all())
    row: dict[str, Any] = {
        "name": f"Word2Vec, dimension {settings.dim}",
        "ours": f"{rate / 1e6:.2f} M words/s",
        "note": f"{len(vocabulary.words):,} words of vocabulary, on {device}",
        "ok": finite,
        "words_per_s": [result.words_per_s for result in ours],
    }
    if not finite:
        return row | {"note": "the trained vectors are not finite"}
    try:
        peer = train_gensim(text, vocabulary, settings)
    except ImportError as error:
        return row | {"ok": False, "note": f"{row['note']}; no peer: {error}"}
    row |= {"peer": f"{peer.words_per_s / 1e6:.2f} M words/s", "ratio": rate / peer.words_per_s}
    if made_up:
        found, wanted = topic_separation(vocabulary, ours[0].vectors), topic_separation(vocabulary, peer.vectors)
        row["note"] += f"; separation of topics {found:.3f}, gensim {wanted:.3f}"
        row |= {"separation": found, "peer_separation": wanted, "ok": found >= KEPT_QUALITY * wanted}
    return row
