"""What averaging costs in quality: Word2Vec by several workers against one, for schemes and lengths of rounds.

Workers take their turns in this process, so the time says nothing; their text, merges and tables are those of a cluster.
Prints a row for each setting: median and range of the scores over the seeds, and which share of one worker's mean is kept.
Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from word2vec_corpus import encoded_corpus, scores, spread, write_lines

from shoal.workers.training.word2vec import (
    Assignment,
    AveragingSettings,
    EncodedCorpus,
    MachineMemory,
    MergeResult,
    MergeScheme,
    PoolLearner,
    Rounds,
    RoundsPlan,
    SpanLease,
    Tables,
    TrainResult,
    Word2VecSettings,
    cpu_learner,
)


class TurnTakers:
    """A pool whose learners work one after the other, in this process, one thread each."""

    lost = 0
    waiting = False

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool_learners: list[PoolLearner] = []
        self._lr_words = 0.0

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[Any]:
        return map(function, arguments)

    def begin(self, assignment: Assignment) -> None:
        self._pool_learners = [PoolLearner(assignment, cpu_learner, 1, self._count == 1) for _ in range(self._count)]

    def machines(self) -> list[MachineMemory]:
        return []

    def load(self, tables: Tables | None) -> None:
        for pool_learner in self._pool_learners:
            pool_learner.load(tables)

    @property
    def learners(self) -> tuple[int, ...]:
        return tuple(range(self._count))

    def train(self, leases: Mapping[int, SpanLease]) -> dict[int, TrainResult]:
        self._lr_words += sum(lease.lr_words for lease in leases.values()) / self._count
        return {number: self._pool_learners[number].train(lease) for number, lease in leases.items()}

    def merge(self, rows: int) -> MergeResult:
        if self._count > 1 and rows:
            cuts = [rows * place // self._count for place in range(self._count + 1)]
            parts = [pool_learner.delta(rows, cuts, place) for place, pool_learner in enumerate(self._pool_learners)]
            merged = [
                pool_learner.merge_range(
                    place,
                    self._lr_words,
                    [given[place - (place > other)] for other, given in enumerate(parts) if other != place],
                )
                for place, pool_learner in enumerate(self._pool_learners)
            ]
            for pool_learner in self._pool_learners:
                pool_learner.apply(rows, self._lr_words, merged)
            self._lr_words = 0.0
        return MergeResult(frozenset(self.learners), 0)

    def admit(self) -> None:
        pass

    def tables(self) -> Tables:
        return self._pool_learners[0].tables()

    def close(self) -> None:
        pass


def trained(
    corpus: EncodedCorpus, folder: Path, workers: int, settings: Word2VecSettings, averaging: AveragingSettings
) -> dict[str, float]:
    """The scores, and the mean loss of a pair in the last minute, of one training."""
    pool = TurnTakers(workers)
    pool.begin(Assignment(settings, str(folder), averaging.scheme))
    plan = RoundsPlan(
        settings=settings,
        averaging=averaging,
        span_words=tuple(span.words for span in corpus.spans),
        words=len(corpus.vocabulary.words),
        digest="",
        checkpoint=folder / "checkpoint",
        checkpoint_every_s=1e9,
    )
    rounds = Rounds(plan, pool)
    rounds.prepare()
    progress = rounds.run(lambda: False, lambda _: None)
    return {**scores(corpus.vocabulary.words, rounds.tables().vectors()), "loss": progress.stats().loss}


def main() -> None:
    """Prints the rows as they are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=0, help="of the corpus; 0 takes all")
    parser.add_argument("--first-word", type=int, default=0, help="of the corpus")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="the first is what others are measured by"
    )
    parser.add_argument("--schemes", nargs="+", default=[MergeScheme.CONTRACTION], choices=list(MergeScheme))
    parser.add_argument("--round-words", type=int, nargs="+", default=[0], help="0 is the default length")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--negative", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=0.0)
    parser.add_argument("--sample", type=float, default=1e-3)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--cbow", action="store_true")
    parser.add_argument("--quick", action="store_true", help="1 M words, 3 epochs, one seed")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.words, arguments.epochs, arguments.seeds = 1_000_000, 3, [1]
    fields = ("dim", "window", "negative", "epochs", "learning_rate", "sample", "min_count", "cbow")
    given = {field: getattr(arguments, field) for field in fields}
    with tempfile.TemporaryDirectory() as place:
        text, folder = Path(place) / "text", Path(place) / "encoded"
        folder.mkdir()
        write_lines(arguments.words, text, arguments.first_word)
        corpus = encoded_corpus(text, folder, Word2VecSettings(**given))
        print(f"{corpus.words} words, {len(corpus.vocabulary.words)} of them different; {given}; seeds {arguments.seeds}")
        alone: dict[str, float] = {}
        for workers in arguments.workers:
            for scheme in arguments.schemes if workers > 1 else [MergeScheme.MEAN]:
                for round_words in arguments.round_words if workers > 1 else [0]:
                    averaging = AveragingSettings(scheme=MergeScheme(scheme), round_words=round_words)
                    runs = [
                        trained(corpus, folder, workers, Word2VecSettings(**given, seed=seed), averaging)
                        for seed in arguments.seeds
                    ]
                    means = {name: mean(run[name] for run in runs) for name in runs[0]}
                    alone = alone or means
                    shown = "   ".join(
                        f"{name} {spread([run[name] for run in runs])} {means[name] / alone[name]:.3f}" for name in means
                    )
                    print(f"{workers} workers, {scheme}, {round_words or 'default'}: {shown}", flush=True)


if __name__ == "__main__":
    main()
