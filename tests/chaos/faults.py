"""A cluster in one process that loses files, workers, coordinators and calls at random, and what must still hold."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from shoal.client import Client, DeadlineExceeded, Document, Overloaded, RetryPolicy, SearchResult, Unavailable
from shoal.cluster.gateway.server import GatewayServer
from shoal.cluster.gateway.settings import GatewaySettings
from shoal.cluster.ledger.errors import LedgerUnreadable
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.cluster.ledger.writer import LedgerWriter
from shoal.cluster.settings import RetrySettings
from shoal.workers.indexing.host import ShardHost
from support.coordinator.world import SETTINGS, World
from support.gateway.small_cluster import CREDENTIALS, eventually

NAME = "notes"
SERVE = replace(
    SETTINGS,
    index=replace(SETTINGS.index, workers=2, seal_delta_rows=8, file_grace_s=0.1),
    # No fault here is caused by a document.
    retry=RetrySettings(attempts=1000, first_pause_s=0.02, longest_pause_s=0.05),
)
CALLS = {
    ShardHost: ["stage", "sync"],
    LedgerWriter: ["write"],
    LedgerProgress: [
        "backlog",
        "commit_sealed",
        "commit_segments",
        "manifest",
        "next_ordinals",
        "pending",
        "place",
        "record_failures",
        "report_damage",
    ],
}
Answer = TypeVar("Answer")


class FailingCalls:
    """Breaks a share of the calls of ledger and storage: before they are made, or after they have had their effect."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self.share = 0.0
        for owner, names in CALLS.items():
            for name in names:
                patch.setattr(owner, name, self._failing(getattr(owner, name), owner is ShardHost))

    def _failing(self, call: Callable[..., Answer], of_storage: bool) -> Callable[..., Answer]:
        @functools.wraps(call)
        def failing(*arguments: Any, **options: Any) -> Answer:
            self._break(of_storage)
            answer = call(*arguments, **options)
            self._break(of_storage)
            return answer

        return failing

    def _break(self, of_storage: bool) -> None:
        with self._lock:
            broken = self._draw.random() < self.share / 2
        if broken:
            raise OSError("input/output error") if of_storage else LedgerUnreadable("ledger", "the connection was lost")


class Cluster:
    """A coordinator's world with a gateway in front, a client, and records of what was acknowledged."""

    def __init__(self, world: World, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.draw = random.Random(seed)
        self.failing = FailingCalls(seed, patch)
        self.live: dict[str, int] = {}
        """The documents that exist, and the version of each."""
        self.answers: list[SearchResult] = []
        self.refused = 0
        world.start(SERVE)
        self._gateway = GatewayServer(GatewaySettings("127.0.0.1:0", world.url, CREDENTIALS))
        self.client = Client(self._gateway.start(), timeout=20.0, retry=RetryPolicy(patience_s=20.0))

    def close(self) -> None:
        """Stops the gateway; whoever made the world closes it."""
        self.client.close()
        self._gateway.drain(1)

    # What users do.

    def write(self) -> None:
        """Upserts or deletes some documents and records the result."""
        ids = [f"d{number}" for number in self.draw.sample(range(40), self.draw.randint(1, 12))]
        if self.draw.random() < 0.2:
            self.client.delete(NAME, ids)
            for one in ids:
                self.live.pop(one, None)
        else:
            documents = [Document(one, f"{one} says {self.draw.random()}") for one in ids]
            token = self.client.upsert(NAME, documents)
            self.live |= {result.id: result.version for result in token.results}

    def search(self) -> SearchResult | None:
        """Searches for everything and checks the answer; None where the cluster said that it cannot answer now."""
        least = self.draw.choice([None, None, 0.0])
        try:
            answer = self.client.search(NAME, "says", k=60, min_coverage=least, timeout=3.0)
        except (Unavailable, DeadlineExceeded, Overloaded):
            self.refused += 1
            return None
        self.check(answer)
        self.answers.append(answer)
        return answer

    def check(self, answer: SearchResult) -> None:
        """Every hit has the newest version, and missing documents are counted as missing."""
        found = {hit.id: hit.version for hit in answer}
        assert len(found) == len(answer), "a document appears twice"
        assert found.items() <= self.live.items(), "deleted or older versions"
        coverage = answer.coverage
        assert coverage.known == len(self.live)
        missing = self.live.keys() - found.keys()
        assert len(found) >= coverage.reachable, f"{sorted(missing)} are missing: {coverage}"
        if coverage.complete:
            assert len(missing) <= coverage.pending, f"{sorted(missing)} are missing: {coverage}"

    # Faults.

    def harm(self) -> None:
        """One fault."""
        self.draw.choice(
            [self._kill_index_worker, self._kill_encoder, self._lose_file, self._lose_file, self._restart_coordinator]
        )()

    def _kill_index_worker(self) -> None:
        self.world.fleet.kill(self.draw.choice(self.world.fleet.names("index")))

    def _kill_encoder(self) -> None:
        names = self.world.fleet.names("encoder")
        if names:
            self.world.fleet.kill(self.draw.choice(names))

    def _lose_file(self) -> None:
        """A file is damaged or gone. Its next reader notices it: a worker that starts, or sealing."""
        named = self.world.named_files()
        if named:
            victim = self.draw.choice(named)
            if self.draw.random() < 0.5:
                victim.unlink(missing_ok=True)
            elif victim.exists():
                data = bytearray(victim.read_bytes())
                data[self.draw.randrange(len(data))] ^= 0xFF
                victim.write_bytes(bytes(data))
        if self.draw.random() < 0.8:
            for name in self.world.fleet.names("index"):
                self.world.fleet.kill(name)

    def _restart_coordinator(self) -> None:
        started = False
        while not started:
            self.world.now.stop()
            try:
                self.world.start(SERVE)
                started = True
            except LedgerUnreadable:
                # As Ray does, it is restarted.
                continue

    def heals(self) -> None:
        """Without further faults, everything becomes searchable."""
        self.failing.share = 0.0

        def whole() -> bool:
            answer = self.search()
            return answer is not None and answer.coverage.fresh and len(answer) == len(self.live)

        eventually(whole, within_s=20.0)
        assert self.client.failed(NAME) == []
