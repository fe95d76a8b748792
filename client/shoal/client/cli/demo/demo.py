"""The demo: starts a server, adds sample documents, asks three questions, and makes one edit to show Shoal's promise."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import click

from shoal.client import samples, types
from shoal.client._transport.progress import bar
from shoal.client._transport.retry import RetryPolicy
from shoal.client.cli.demo import demo_server
from shoal.client.cli.search import freshness
from shoal.client.cli.session import json_option
from shoal.client.client import Client
from shoal.client.errors import ShoalError
from shoal.console import Failure, cell, print_json, shorten

COLLECTION = "tldr"
QUESTIONS = (
    "how do I pack a folder into a compressed file?",
    "run a job at the same time every day",
    "which program is using all my disk space?",
)
EDITED_ID = "common/crontab"
OLD_QUESTION = QUESTIONS[1]
NEW_TEXT = """# bread

> Bake a loaf of sourdough bread at home.

- Knead flour, water and salt, let the dough rise, then bake it.
"""
NEW_QUESTION = "how do I bake sourdough bread?"
# The demo gives up after this long without progress; the first batch may wait for the model to load.
STILL_S = 180.0
# How long a part of the server, such as a restarting coordinator, may be unavailable before the demo fails.
PATIENCE_S = 20.0


@dataclass
class _Report:
    """What was printed, and which claims about it are true."""

    quiet: bool
    claims: dict[str, bool] = field(default_factory=dict)
    answers: list[dict[str, object]] = field(default_factory=list)

    def say(self, line: str = "") -> None:
        if not self.quiet:
            click.echo(line)

    def claim(self, text: str, true: bool) -> None:
        self.claims[text] = true
        self.say(f"  {'yes' if true else 'NO '}  {text}")

    def answer(self, question: str, result: types.SearchResult, shown: int = 3) -> None:
        self.answers.append({"question": question, "hits": result.hits[:shown], "coverage": result.coverage})
        self.say(f"? {question}")
        for hit in result[:shown]:
            lines = [line for line in hit.text.splitlines() if line.startswith(">")] or hit.text.splitlines()
            self.say(f"  {hit.score:.3f}  {cell(hit.id)}  (version {hit.version})  {shorten(' '.join(lines[:1]), 80)}")


@click.command(
    short_help="See it work: start a server, add documents, search, edit.",
    epilog="\b\nExamples:\n  shoal demo\n  shoal demo --model hashing --keep",
)
@click.option("--model", default="all-MiniLM-L6-v2", show_default=True, help="Model that embeds the documents.")
@click.option("--keep", is_flag=True, help="Keep the server's data and log.")
@json_option
def demo(model: str, keep: bool, as_json: bool) -> None:
    """Start a server, fill it with 1,200 sample documents, search, edit one, and clean up."""
    folder = Path(tempfile.mkdtemp(prefix="shoal-demo-"))
    report = _Report(quiet=as_json)
    try:
        with _ended_in_order():
            _run(folder, model, report)
    finally:
        if keep:
            click.echo(f"data and log are in {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json({"claims": report.claims, "answers": report.answers})
    false = [claim for claim, true in report.claims.items() if not true]
    if false:
        raise Failure(f"the demo did not show what it should: {'; '.join(false)}")


def _run(folder: Path, model: str, report: _Report) -> None:
    server = demo_server.DemoServer(demo_server.serve_command(folder / "data"), folder / "server.log")
    started_at_s = time.monotonic()
    report.say("Starting a server ...")
    with server:
        try:
            address = server.address()
            report.say(f"  ready at {address} after {time.monotonic() - started_at_s:.1f} s")
            # Creating the collection waits until the model is loaded, which may mean a download.
            with Client(address, timeout=STILL_S, retry=RetryPolicy(patience_s=PATIENCE_S)) as client:
                _fill(client, server, model, report)
                for question in QUESTIONS:
                    report.answer(question, client.search(COLLECTION, question, k=3, include_text=True))
                report.say()
                _edit(client, report)
        except (ShoalError, Failure):
            click.echo(f"The server's last lines:\n{server.log_tail()}", err=True)
            raise
    report.say("\nThe server has ended.")


def _fill(client: Client, server: demo_server.DemoServer, model: str, report: _Report) -> None:
    documents = samples.documents()
    info = client.create_collection(COLLECTION, model=model)
    report.say(f"Adding {len(documents)} pages about command-line programs (tldr-pages, CC BY 4.0) ...")
    started_at_s = time.monotonic()
    summary = client.upsert_many(COLLECTION, documents, progress=not report.quiet)
    info = client.get_collection(COLLECTION)
    with _quiet_bar(report.quiet, len(documents)) as advance:
        fewest, progress_at_s = info.pending, time.monotonic()
        while info.pending:
            if info.pending < fewest:
                fewest, progress_at_s = info.pending, time.monotonic()
            if not server.running:
                raise Failure("the server ended while it embedded the documents")
            if time.monotonic() - progress_at_s > STILL_S:
                raise Failure(f"{info.pending} documents are still not searchable after {STILL_S:g} s without progress")
            advance(info.documents - info.pending)
            time.sleep(0.1)
            info = client.get_collection(COLLECTION)
    seconds = time.monotonic() - started_at_s
    report.say(f"  {info.documents} documents searchable after {seconds:.1f} s, embedded by {info.model}\n")
    all_there = summary.refused == 0 and info.failed == 0 and info.documents == len(documents)
    report.claim(f"all {len(documents)} documents were accepted and are searchable", all_there)
    report.say()


def _edit(client: Client, report: _Report) -> None:
    report.say(f"Now {EDITED_ID} gets a new text, about bread. With the token of that write:")
    token = client.upsert(COLLECTION, [types.Document(id=EDITED_ID, text=NEW_TEXT)])
    version = token.results[0].version
    new = client.search(COLLECTION, NEW_QUESTION, k=3, token=token, include_text=True)
    report.answer(NEW_QUESTION, new, shown=1)
    old = client.search(COLLECTION, OLD_QUESTION, k=10, token=token, include_text=True)
    report.answer(OLD_QUESTION, old)
    report.say()
    found = bool(new) and (new[0].id, new[0].version, new[0].text) == (EDITED_ID, version, NEW_TEXT)
    report.claim(f"a question for the new text finds {EDITED_ID} first, in its new version {version}", found)
    stale = any(hit.id == EDITED_ID and (hit.version != version or hit.text != NEW_TEXT) for hit in old)
    report.claim(f"a question for the old text never returns {EDITED_ID} in its old version", bool(old) and not stale)
    report.say(f"\nHow fresh that answer is: {freshness(old.coverage)}.")


@contextmanager
def _quiet_bar(quiet: bool, total: int) -> Iterator[Callable[[int], None]]:
    if quiet:
        yield lambda _: None
    else:
        with bar("embedding", total) as advance:
            yield advance


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the demo like Ctrl-C: every `finally` runs."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, leave) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
