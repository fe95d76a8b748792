"""The load of a chaos test while parts of the cluster are killed: one writer and one searcher, and what they must see."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shoal.client import DeadlineExceeded, Document, RetryPolicy, SearchResult, ShoalError, Unavailable
from shoal.workers.encoding.model import AS_DOCUMENT
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.cluster_process import ClusterProcess

DOCUMENTS = 2_000
BATCH = 20
EDITS = 5
"""Documents of each batch that were acknowledged before and are edited."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The newest write of a document that the cluster has confirmed."""

    edition: int
    version: int
    token: str


def text_of(document_id: str, edition: int) -> str:
    """A text that no other document and no other edition has."""
    words = random.Random(f"{document_id} {edition}").sample(range(10_000), 8)
    return " ".join([document_id, f"edition{edition}", *(f"word{number}" for number in words)])


class Upload:
    """Writes and searches one collection from two threads, and records both."""

    def __init__(self, cluster: ClusterProcess, collection: str, seed: int, dimension: int) -> None:
        self._cluster = cluster
        self._model = HashingModel(dimension, name=f"hashing:{dimension}")
        self._collection = collection
        self._lock = threading.Lock()
        self._draw = random.Random(seed)
        self._attempted: dict[str, int] = {}
        self.acknowledged: dict[str, Acknowledged] = {}
        self.halfway = threading.Event()
        self.stop_searching = threading.Event()
        self.answers = 0
        self.answers_with_token = 0
        self.refusals: list[ShoalError] = []
        self.broken: list[BaseException] = []
        self.writer = threading.Thread(target=self._kept, args=(self._write,), name="writer")
        self.searcher = threading.Thread(target=self._kept, args=(self._search,), name="searcher")

    def _kept(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.broken.append(error)
            self.halfway.set()

    def _write(self) -> None:
        with self._cluster.client(timeout=60.0) as client:
            for start in range(0, DOCUMENTS, BATCH):
                fresh = [f"document{number}" for number in range(start, start + BATCH)]
                edited = self._draw.sample(sorted(self.acknowledged), min(EDITS, len(self.acknowledged)))
                editions = dict.fromkeys(fresh, 1) | {one: self.acknowledged[one].edition + 1 for one in edited}
                with self._lock:
                    self._attempted |= editions
                token = client.upsert(
                    self._collection,
                    [
                        Document(one, text_of(one, edition), payload={"edition": edition})
                        for one, edition in editions.items()
                    ],
                )
                with self._lock:
                    for result in token.results:
                        edition = editions[result.id]
                        earlier = self.acknowledged.get(result.id)
                        assert earlier is None or result.version > earlier.version
                        self.acknowledged[result.id] = Acknowledged(edition, result.version, str(token))
                if start >= DOCUMENTS // 2:
                    self.halfway.set()

    def _search(self) -> None:
        draw = random.Random(self._collection)
        # No retries inside the client: every failure is checked.
        with self._cluster.client(timeout=5.0, retry=RetryPolicy(patience_s=0)) as client:
            while not self.stop_searching.is_set():
                with self._lock:
                    floor = dict(self.acknowledged)
                if not floor:
                    self.stop_searching.wait(0.02)
                    continue
                # Old versions may still exist of the documents acknowledged last.
                wanted = draw.choice(list(floor)[-200:])
                written = floor[wanted]
                token = written.token if draw.random() < 0.5 else None
                # A query with its old text would find an edited document first if its old vector still existed.
                asked = text_of(wanted, max(1, written.edition - 1) if token is None else written.edition)
                try:
                    answer = client.search(self._collection, asked, k=20, token=token, include_text=True)
                except (Unavailable, DeadlineExceeded) as error:
                    self.refusals.append(error)
                    self.stop_searching.wait(0.02)
                    continue
                with self._lock:
                    untouched = self._attempted[wanted] == written.edition
                self._check(asked, answer, floor)
                if token is not None:
                    self.answers_with_token += 1
                    # Unless a newer edition is being written, the token's own write must be there.
                    assert not untouched or wanted in {hit.id for hit in answer}, f"{wanted} is missing with token {token}"
                self.answers += 1

    def _check(self, asked: str, answer: SearchResult, floor: dict[str, Acknowledged]) -> None:
        """No document appears twice or older than acknowledged; text, payload, version and vector of each hit agree."""
        if answer:
            vectors = self._model.encode([asked, *(hit.text for hit in answer)], AS_DOCUMENT).vectors
            # A score that differs from that of the hit's text belongs to another version's vector.
            np.testing.assert_allclose([hit.score for hit in answer], vectors[1:] @ vectors[0], atol=1e-4)
        ids = [hit.id for hit in answer]
        assert len(set(ids)) == len(ids), f"twice in one answer: {ids}"
        for hit in answer:
            edition = hit.payload["edition"]
            assert hit.text == text_of(hit.id, edition)
            known = floor.get(hit.id)
            if known is not None:
                assert edition >= known.edition, f"{hit.id}: edition {edition} after {known} was acknowledged"
                assert hit.version >= known.version, f"{hit.id}: version {hit.version} after {known} was acknowledged"
