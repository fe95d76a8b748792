"""Reports a training to the user: progress, notes and the summary."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.console import BadRowReport, ProgressReporter, duration, note_line, print_event
from shoal.records import RejectedRow, reasons_in_words, rows_were

if TYPE_CHECKING:
    from shoal.workers.training.word2vec import CorpusStats, EncodedCorpus, TrainingStats, TrainingSummary, UnreadRow


class TrainingReport:
    """Its methods, except `finished`, are the listeners of a training. A context manager, as ProgressReporter is."""

    def __init__(self, output: str, as_json: bool, rejects: Path | None = None) -> None:
        """`rejects` is a file for all bad rows. Raises OSError when it cannot be written."""
        self._output = output
        self._reporter = ProgressReporter("starting", as_json)
        self._bad_rows = BadRowReport(self._reporter.message, rejects)

    def __enter__(self) -> None:
        self._reporter.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._bad_rows.__exit__(*raised)
        self._reporter.__exit__()

    def note(self, message: str) -> None:
        """Something about the corpus that is no error."""
        self._reporter.message(note_line(message))

    def unread(self, row: UnreadRow) -> None:
        """A row of the corpus cannot be read."""
        self._bad_rows.add(RejectedRow(row.path, row.line, row.reason))

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
            self.note(f"{words:,} words in all epochs are too few for this many workers: {keeps} the quality of one")

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
        totals = summary.totals
        if self._reporter.as_json:
            values = dataclasses.asdict(summary)
            del values["corpus"], values["totals"]
            values |= {"replaced": summary.corpus.replaced if summary.corpus else 0} | dataclasses.asdict(totals)
            values |= {"bad_rows": self._bad_rows.count, "reasons": self._bad_rows.kinds}
            for name in ("words_per_s", "words_per_s_per_learner", "merge_share", "bytes_per_merge"):
                values[name] = getattr(totals, name)
            print_event("finished", {**values, "output": self._output})
            return
        if summary.corpus is not None and summary.corpus.replaced:
            self.note(_replaced(summary.corpus))
        if self._bad_rows.count:
            self.note(f"{rows_were(self._bad_rows.count)} not read: {reasons_in_words(self._bad_rows.kinds)}")
        if summary.lost:
            self.note(f"{summary.lost} workers were lost and replaced")
        if totals.merges:
            self._reporter.message(
                f"merging took {totals.merge_share:.1%} of the time, {totals.bytes_per_merge / (1 << 20):.1f} MiB per merge;"
                f" {totals.words_per_s_per_learner:,.0f} words/s per worker"
            )
        click.echo(
            f"{summary.vocabulary:,} vectors in {self._output}; {totals.words:,} words trained at {totals.words_per_s:,.0f} "
            f"words/s, loss {summary.loss:.4f}; {summary.seconds:.1f} s"
        )


def _replaced(corpus: CorpusStats) -> str:
    others = len(corpus.replaced_in) - 1
    more = f" and {others} more file{'s' * (others > 1)}" if others else ""
    some = "1 byte sequence that is" if corpus.replaced == 1 else f"{corpus.replaced:,} byte sequences that are"
    return f"{some} not UTF-8 became U+FFFD, in {corpus.replaced_in[0]}{more}"


def _pace(stats: TrainingStats) -> str:
    pace = f"{stats.words_per_s:,.0f} words/s  loss {stats.loss:.4f}  learning rate {stats.rate:.5f}"
    if stats.learners > 1:
        pace += f"  {stats.learners} workers, {stats.merge_share:.0%} merging"
    return pace if stats.eta_s is None else f"{pace}  {duration(stats.eta_s)} left"
