"""Tells a person or a program how a training goes. What is told is measured elsewhere."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import click

from shoal.console import print_event

if TYPE_CHECKING:
    from shoal.workers.training.word2vec import EncodedCorpus, TrainingStats, TrainingSummary

TOLD_EVERY_S = 5.0


class TrainingReport:
    """A bar on a terminal, lines elsewhere, JSON events where asked for. A context: the bar is drawn while it is entered."""

    def __init__(self, output: str, as_json: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._output = output
        self._as_json = as_json
        self._told_at_s = float("-inf")
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[pace]}"))
        self._drawn = Progress(*columns, console=console, transient=True, disable=not console.is_terminal or as_json)
        self._task = self._drawn.add_task("starting", total=1.0, pace="")

    def __enter__(self) -> None:
        self._drawn.start()

    def __exit__(self, *_: object) -> None:
        self._drawn.stop()

    def phase(self, what: str) -> None:
        """What is being done."""
        self._drawn.update(self._task, description=what, completed=0.0, pace="")
        if self._as_json:
            print_event("phase", {"phase": what})

    def scanned(self, parts: int, of: int) -> None:
        """So many parts of the corpus are read."""
        self._drawn.update(self._task, completed=parts / of)
        if self._due(parts == of):
            if self._as_json:
                print_event("reading", {"parts": parts, "of": of})
            elif self._drawn.disable:
                click.echo(f"{parts / of:4.0%}  of the corpus is read", err=True)

    def placed(self, device: str, reason: str) -> None:
        """The device was chosen."""
        if self._as_json:
            print_event("device", {"device": device, "reason": reason})
        else:
            self._say(f"trains on {device}: {reason}")

    def crowded(self, words: int, worthwhile: int) -> None:
        """There are more workers than so many words are worth."""
        if self._as_json:
            print_event("crowded", {"words": words, "worthwhile_workers": worthwhile})
        else:
            told = "1 worker keeps" if worthwhile == 1 else f"up to {worthwhile} workers keep"
            self._say(f"{words:,} words in all epochs are too few for this many workers: {told} the quality of one")

    def began(self, corpus: EncodedCorpus, trained_before: int) -> None:
        """The text is read, and training begins or goes on."""
        vocabulary = len(corpus.vocabulary.words)
        self._told_at_s = float("-inf")
        if self._as_json:
            print_event(
                "started", {"vocabulary": vocabulary, "corpus_words": corpus.words, "trained_before": trained_before}
            )
            return
        self._say(f"{vocabulary:,} words have vectors; the corpus has them {corpus.words:,} times")
        if trained_before:
            self._say(f"{trained_before:,} words were trained before; going on")

    def advanced(self, stats: TrainingStats) -> None:
        """A round is over."""
        due = self._due(stats.share >= 1)
        self._drawn.update(self._task, completed=stats.share, pace=_pace(stats), refresh=due)
        if due:
            if self._as_json:
                print_event("progress", dataclasses.asdict(stats))
            elif self._drawn.disable:
                click.echo(f"{stats.share:4.0%}  {_pace(stats)}", err=True)

    def done(self, summary: TrainingSummary) -> None:
        """The table is in its place."""
        totals = summary.totals
        if self._as_json:
            values = dataclasses.asdict(summary)
            del values["corpus"], values["totals"]
            values |= {"replaced": summary.corpus.replaced if summary.corpus else 0} | dataclasses.asdict(totals)
            for name in ("words_per_s", "words_per_s_per_learner", "merge_share", "bytes_per_merge"):
                values[name] = getattr(totals, name)
            print_event("finished", values | {"output": self._output})
            return
        if summary.corpus and summary.corpus.replaced:
            self._say(f"{summary.corpus.replaced:,} characters of the corpus were no UTF-8 and are U+FFFD")
        if summary.lost:
            self._say(f"{summary.lost} workers were lost and replaced on the way")
        if totals.merges:
            self._say(
                f"merging took {totals.merge_share:.1%} of the time, {totals.bytes_per_merge / (1 << 20):.1f} MiB a merge; "
                f"{totals.words_per_s_per_learner:,.0f} words/s a worker"
            )
        click.echo(
            f"{summary.vocabulary:,} vectors in {self._output}; {totals.words:,} words trained at {totals.words_per_s:,.0f} "
            f"words/s, loss {summary.loss:.4f}; {summary.seconds:.1f} s"
        )

    def _say(self, line: str) -> None:
        """A line above the bar."""
        if self._drawn.disable:
            click.echo(line, err=True)
        else:
            self._drawn.console.print(line, markup=False, highlight=False)

    def _due(self, last: bool) -> bool:
        now_s = time.monotonic()
        if not last and now_s - self._told_at_s < TOLD_EVERY_S:
            return False
        self._told_at_s = now_s
        return True


def _pace(stats: TrainingStats) -> str:
    told = f"{stats.words_per_s:,.0f} words/s  loss {stats.loss:.4f}  learning rate {stats.rate:.5f}"
    if stats.learners > 1:
        told += f"  {stats.learners} workers, {stats.merge_share:.0%} merging"
    if stats.eta_s is None:
        return told
    seconds = int(stats.eta_s)
    return f"{told}  {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"
