"""Word2Vec on the CPU against gensim: words a second, whole trainings from text to vectors, and how good the vectors are.

`speed` trains the same text in turn with gensim (from lists of words, and from a file) and with our kernels, in one
thread and in several, several rounds over; text has been turned into numbers before for our kernels, which gensim does
as it trains. `whole` runs both from a text file to vectors, each in a process of its own, one seed after the other, and
scores the vectors: there everything is part of the time. Medians, ranges and ratios are printed. Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from word2vec_corpus import encode, scores, spread, write_lines

from shoal.workers.encoding.word_vectors import read_word_table
from shoal.workers.training.word2vec import CpuLearner, Ids, Tables, Vocabulary, Word2VecSettings

KERNELS = {"window": {}, "exact": {"exact": True}, "cbow": {"cbow": True}}

Rates = dict[str, list[float]]


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def gensim_model(vocabulary: Vocabulary, dim: int, threads: int, cbow: bool) -> object:
    from gensim.models import Word2Vec

    model = Word2Vec(vector_size=dim, window=5, negative=5, sg=int(not cbow), sample=1e-3, min_count=1, workers=threads)
    model.build_vocab_from_freq(dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)))
    return model


def measured(text: Path, dim: int, rounds: int, all_threads: Sequence[int]) -> Rates:
    """Million words a second of each, by name."""
    vocabulary, spans = encode(text, Word2VecSettings(dim=dim, min_count=1))
    ids: Ids = np.concatenate(spans)
    lines = [line.split() for line in text.read_text(encoding="utf-8").splitlines()]
    words = int(vocabulary.counts.sum())
    rates: Rates = defaultdict(list)
    for number in range(rounds):
        for threads in all_threads:
            for cbow in (False, True):
                kind = "cbow" if cbow else "skip-gram"
                for way, source in (("lists", {"corpus_iterable": lines}), ("file", {"corpus_file": str(text)})):
                    model = gensim_model(vocabulary, dim, threads, cbow)
                    seconds = timed(
                        lambda model=model, source=source: model.train(  # pyright: ignore[reportAttributeAccessIssue]
                            **source, total_examples=len(lines), total_words=words, epochs=1
                        )
                    )
                    rates[f"gensim {kind}, {way}, {threads} threads"].append(words / seconds / 1e6)
            for kernel, choice in KERNELS.items():
                settings = Word2VecSettings(dim=dim, **choice)  # pyright: ignore[reportArgumentType]
                tables = Tables.initial(len(vocabulary.words), dim, 1)
                learner = CpuLearner(settings, vocabulary.counts, tables, threads)
                # Compiled, unless it is on disk, before the time runs.
                learner.train(ids[:2000], 0, 0, 0)
                rates[f"shoal {kernel}, {threads} threads"].append(
                    words / timed(lambda learner=learner, seed=number: learner.train(ids, 0.025, 0.02, seed)) / 1e6
                )
    return rates


def print_speed(dim: int, rates: Rates, all_threads: Sequence[int]) -> None:
    print(f"dim {dim}, million words/s:")
    for name, values in rates.items():
        print(f"  {name:40s} {spread(values)}")
    for threads in all_threads:
        for kernel in KERNELS:
            kind = "cbow" if kernel == "cbow" else "skip-gram"
            peer = max(median(rates[f"gensim {kind}, {way}, {threads} threads"]) for way in ("lists", "file"))
            own = median(rates[f"shoal {kernel}, {threads} threads"])
            more = own / median(rates[f"shoal {kernel}, 1 threads"])
            print(f"  {kernel}, {threads} threads: {own / peer:.2f} x the faster gensim; {more:.2f} x one thread")


GENSIM = """
import sys
from gensim.models import Word2Vec
text, output, dim, epochs, threads, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
model = Word2Vec(corpus_file=text, vector_size=dim, window=5, negative=5, sg=1, sample=1e-3, min_count=5, workers=threads,
                 epochs=epochs, seed=seed)
model.wv.save_word2vec_format(output, binary=True)
"""


def whole(text: Path, folder: Path, dim: int, epochs: int, threads: int, seeds: Sequence[int]) -> None:
    """Prints seconds and scores of whole trainings."""
    seconds: Rates = defaultdict(list)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    base = ["train", "word2vec", str(text), "--format", "binary", "--overwrite", "--dim", str(dim), "--epochs", str(epochs)]
    shoal = [sys.executable, "-m", "shoal.client.cli", *base, "--threads", str(threads)]
    for seed in seeds:
        for name, command in (
            ("gensim", [sys.executable, "-c", GENSIM, str(text), "OUTPUT", str(dim), str(epochs), str(threads), str(seed)]),
            ("shoal", [*shoal, "--output", "OUTPUT", "--seed", str(seed)]),
            ("shoal --exact", [*shoal, "--output", "OUTPUT", "--seed", str(seed), "--exact"]),
        ):
            output = folder / name.replace(" ", "")
            filled = [str(output) if part == "OUTPUT" else part for part in command]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            seconds[name].append(
                timed(
                    lambda filled=filled, env=environment: subprocess.run(filled, check=True, capture_output=True, env=env)
                )
            )
            table = read_word_table(str(output))
            found[name].append(scores(table.words, np.array(table.vectors)))
            print(f"  seed {seed}, {name}: {seconds[name][-1]:.1f} s, {found[name][-1]}", flush=True)
    print(f"whole, dim {dim}, {epochs} epochs, {threads} threads, from text to vectors:")
    for name, values in seconds.items():
        ratio = median(seconds["gensim"]) / median(values)
        shown = ", ".join(f"{score} {spread([run[score] for run in found[name]])}" for score in found[name][0])
        print(f"  {name:14s} {spread(values)} s, {ratio:.2f} x gensim's speed; {shown}")


def main() -> None:
    """Prints both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=["speed", "whole"], default=["speed", "whole"])
    parser.add_argument("--dims", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--words", type=int, default=1_000_000, help="of `speed`")
    parser.add_argument("--whole-words", type=int, default=0, help="of `whole`; 0 takes all")
    parser.add_argument("--whole-threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5, help="of `whole`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of `whole`")
    parser.add_argument("--quick", action="store_true", help="little text, few rounds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.words, arguments.rounds, arguments.whole_words = 100_000, 2, 500_000
        arguments.epochs, arguments.seeds = 2, [1]
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        if "speed" in arguments.parts:
            write_lines(arguments.words, text)
            for dim in arguments.dims:
                print_speed(dim, measured(text, dim, arguments.rounds, arguments.threads), arguments.threads)
        if "whole" in arguments.parts:
            write_lines(arguments.whole_words, text)
            whole(text, Path(folder), arguments.dims[0], arguments.epochs, arguments.whole_threads, arguments.seeds)


if __name__ == "__main__":
    main()
