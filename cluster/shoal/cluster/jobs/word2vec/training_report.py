"""Reports a training to the user: progress, notes and the summary."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from shoal.console import ProgressReporter, duration, print_event

if TYPE_CHECKING:
    from shoal.workers.training.word2vec import EncodedCorpus, TrainingStats, TrainingSummary


class TrainingReport:
    """Its methods, except `finished`, are the listeners of a training. A context manager, as ProgressReporter is."""

    def __init__(self, output: str, as_json: bool) -> None:
        self._output = output
        self._reporter = ProgressReporter("starting", as_json)

    def __enter__(self) -> None:
        self._reporter.__enter__()

    def __exit__(self, *_: object) -> None:
        self._reporter.__exit__()

    def phase(self, description: str) -> None:
        """What the training does now."""
        self._reporter.phase(description)
        if self._reporter.as_json:
            print_event("phase", {"phase": description})

    def scanned(self, parts: int, of: int) -> None:
        """Some parts of the corpus are read."""
        self._reporter.advance("reading", {"parts": parts, "of": of}, parts / of, "of the corpus is read", last=parts == of)

    def device_chosen(self, device: str, reason: str) -> None:
        """The device was chosen."""
        if self._reporter.as_json:
            print_event("device", {"device": device, "reason": reason})
        else:
            self._reporter.message(f"training on {device}: {reason}")

    def too_few_words(self, words: int, worthwhile: int) -> None:
        """The corpus is too small for the number of workers."""
        if self._reporter.as_json:
            print_event("crowded", {"words": words, "worthwhile_workers": worthwhile})
        else:
            keeps = "1 worker keeps" if worthwhile == 1 else f"up to {worthwhile} workers keep"
            self._reporter.message(
                f"{words:,} words in all epochs are too few for this many workers: {keeps} the quality of one"
            )

    def started(self, corpus: EncodedCorpus, trained_before: int) -> None:
        """The text is read, and training starts or resumes."""
        vocabulary = len(corpus.vocabulary.words)
        if self._reporter.as_json:
            values = {"vocabulary": vocabulary, "corpus_words": corpus.words, "trained_before": trained_before}
            print_event("started", values)
            return
        self._reporter.message(f"vocabulary of {vocabulary:,} words, which occur {corpus.words:,} times in the corpus")
        if trained_before:
            self._reporter.message(f"resuming: {trained_before:,} words were trained before")

    def advanced(self, stats: TrainingStats) -> None:
        """A round is finished."""
        self._reporter.advance("progress", dataclasses.asdict(stats), stats.share, _pace(stats), last=stats.share >= 1)

    def finished(self, summary: TrainingSummary) -> None:
        """The vectors are saved."""
        totals, replaced = summary.totals, summary.corpus.replaced if summary.corpus else 0
        if self._reporter.as_json:
            values = dataclasses.asdict(summary)
            del values["corpus"], values["totals"]
            values |= {"replaced": replaced} | dataclasses.asdict(totals)
            for name in ("words_per_s", "words_per_s_per_learner", "merge_share", "bytes_per_merge"):
                values[name] = getattr(totals, name)
            print_event("finished", {**values, "output": self._output})
            return
        if replaced:
            self._reporter.message(f"{replaced:,} invalid UTF-8 sequences in the corpus were replaced by U+FFFD")
        if summary.lost:
            self._reporter.message(f"{summary.lost} workers were lost and replaced")
        if totals.merges:
            self._reporter.message(
                f"merging took {totals.merge_share:.1%} of the time, {totals.bytes_per_merge / (1 << 20):.1f} MiB per merge;"
                f" {totals.words_per_s_per_learner:,.0f} words/s per worker"
            )
        click.echo(
            f"{summary.vocabulary:,} vectors in {self._output}; {totals.words:,} words trained at {totals.words_per_s:,.0f} "
            f"words/s, loss {summary.loss:.4f}; {summary.seconds:.1f} s"
        )


def _pace(stats: TrainingStats) -> str:
    pace = f"{stats.words_per_s:,.0f} words/s  loss {stats.loss:.4f}  learning rate {stats.rate:.5f}"
    if stats.learners > 1:
        pace += f"  {stats.learners} workers, {stats.merge_share:.0%} merging"
    return pace if stats.eta_s is None else f"{pace}  {duration(stats.eta_s)} left"
