"""Word2Vec on a GPU against one thread of gensim and one of our CPU kernel: words a second, and how good the vectors are.

All train on the same text with the same settings, in turn, several rounds over; each round is one seed. Medians, ranges and
ratios are printed. Reading the text and counting its words is not part of the time. It has not met a GPU yet; `--quick` runs
anywhere, with the torch learner on the CPU, on a small slice.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from word2vec_corpus import CORPUS, Result, encode, scores, spread, train, write_lines

from shoal.workers.training.word2vec import CpuLearner, Tables, TorchLearner, Vocabulary, Word2VecSettings, missing_cuda

GENSIM = "gensim, 1 thread"
LEASE_SPANS = 20
"""Spans of 50,000 words that are trained at once."""


def train_gensim(text: Path, vocabulary: Vocabulary, settings: Word2VecSettings) -> Result:
    """The same with gensim, in one thread, from the same lines; counting them is not part of the time."""
    from gensim.models import Word2Vec

    sentences = [line.split() for line in text.read_text(encoding="utf-8").splitlines()]
    model = Word2Vec(
        vector_size=settings.dim,
        window=settings.window,
        negative=settings.negative,
        sg=int(not settings.cbow),
        alpha=settings.first_rate,
        min_alpha=settings.min_learning_rate,
        sample=settings.sample,
        min_count=settings.min_count,
        workers=1,
        seed=settings.seed,
    )
    model.build_vocab(sentences)
    begun = time.perf_counter()
    model.train(sentences, total_examples=model.corpus_count, epochs=settings.epochs)
    seconds = time.perf_counter() - begun
    vectors = np.stack([model.wv[word] for word in vocabulary.words])
    return Result(int(vocabulary.counts.sum()) * settings.epochs / seconds, vectors)


def pool_learners(
    text: Path, settings: Word2VecSettings, device: str, batch_words: int
) -> tuple[Vocabulary, dict[str, Callable[[], Result]]]:
    """All trainings by name; they start with the same tables, except gensim, which draws its own."""
    vocabulary, spans = encode(text, settings)
    leases = [np.concatenate(spans[at : at + LEASE_SPANS]) for at in range(0, len(spans), LEASE_SPANS)]
    tables = Tables.initial(len(vocabulary.words), settings.dim, settings.seed)

    def with_torch() -> Result:
        learner = TorchLearner(settings, vocabulary.counts, tables, device=device, batch_words=batch_words)
        return train(learner, leases, settings)

    return vocabulary, {
        GENSIM: lambda: train_gensim(text, vocabulary, settings),
        "CPU kernel, 1 thread": lambda: train(CpuLearner(settings, vocabulary.counts, tables, 1), leases, settings),
        f"torch, {device}": with_torch,
    }


def compare(text: Path, arguments: argparse.Namespace, dim: int, device: str) -> None:
    """Prints how fast each trains vectors of `dim` numbers, and how good they are."""
    results: dict[str, list[Result]] = {}
    quality: dict[str, list[dict[str, float]]] = {}
    for seed in range(1, arguments.rounds + 1):
        settings = Word2VecSettings(dim=dim, epochs=arguments.epochs, cbow=arguments.cbow, seed=seed)
        vocabulary, makers = pool_learners(text, settings, device, arguments.batch_words)
        if seed == 1:
            known, total = len(vocabulary.words), int(vocabulary.counts.sum())
            print(f"dim {dim}: {total:,} words of a vocabulary of {known:,}, {arguments.epochs} epochs", flush=True)
        for name, make in makers.items():
            result = make()
            results.setdefault(name, []).append(result)
            quality.setdefault(name, []).append(scores(vocabulary.words, result.vectors))
    peer = statistics.median(result.words_per_s for result in results[GENSIM])
    for name, some in results.items():
        rates = [result.words_per_s for result in some]
        stats = ", ".join(f"{kind} {spread([each[kind] for each in quality[name]])}" for kind in quality[name][0])
        print(
            f"  {name:20} {spread(rates, 1e6)} M words/s, {statistics.median(rates) / peer:6.2f} x gensim; {stats}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=17_000_000, help="so many of the corpus, from its beginning")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dims", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--batch-words", type=int, default=0, help="words of a batch; 0 chooses by vocabulary and device")
    parser.add_argument("--cbow", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small slice, with torch on the CPU")
    arguments = parser.parse_args()
    if not CORPUS.exists():
        raise SystemExit(f"the corpus is not there: {CORPUS}")
    device, lack = ("cpu", "") if arguments.quick else ("cuda", missing_cuda())
    if lack:
        raise SystemExit(f"{lack}; --quick runs on the CPU")
    if arguments.quick:
        arguments.words, arguments.epochs, arguments.rounds, arguments.dims = 1_000_000, 3, 1, [50]
        torch.set_num_threads(1)
    else:
        print(torch.cuda.get_device_name(), f"torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "corpus.txt"
        write_lines(arguments.words, text)
        for dim in arguments.dims:
            compare(text, arguments, dim, device)


if __name__ == "__main__":
    main()
