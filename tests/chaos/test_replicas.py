"""Two replicas of a model, and one is killed or hangs under load: no caller sees an error, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from shoal.client import Client, Document, ProcessInfo, ProcessKind, RetryPolicy
from shoal.workers.encoding.model import AS_DOCUMENT
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.cluster_process import ClusterProcess, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

DIMENSION = 64
MODEL = f"hashing:{DIMENSION}"
CALLERS = 4
DOCUMENTS = 2_000
BATCH = 50
CONFIG = "[encoder]\nreplicas = 2\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """A cluster whose models have two replicas each."""
    running = ClusterProcess(tmp_path_factory.mktemp("replicas") / "data", CONFIG)
    try:
        yield running
        assert running.stop() == 0
        assert running.leftovers() == []
    finally:
        running.close()


@pytest.fixture(scope="module")
def client(cluster: ClusterProcess) -> Iterator[Client]:
    with cluster.client() as connected:
        yield connected


class Embedders:
    """Callers that embed one request after the other and check each answer. None of them retries a call."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self._cluster = cluster
        self._model = HashingModel(DIMENSION, name=MODEL)
        self._stop = threading.Event()
        self.answers = 0
        self.broken: list[BaseException] = []
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> Embedders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads), "a call hangs"

    def _call(self, caller: int) -> None:
        try:
            with self._cluster.client(timeout=60.0, retry=RetryPolicy(patience_s=0.0)) as client:
                for number in itertools.count():
                    if self._stop.is_set():
                        return
                    texts = [f"caller {caller} says {number} times {word}" for word in range(40)]
                    answer = client.embed(MODEL, texts)
                    assert not answer.errors
                    np.testing.assert_allclose(answer.vectors, self._model.encode(texts, AS_DOCUMENT).vectors, atol=1e-5)
                    self.answers += 1
        except BaseException as error:
            self.broken.append(error)


def encoders(client: Client) -> list[ProcessInfo]:
    return [one for one in client.status().processes if one.kind == ProcessKind.ENCODER and one.model == MODEL]


def both_ready(client: Client) -> bool:
    return [replica.state for replica in encoders(client)] == ["ready", "ready"]


def is_missed(client: Client, victim: ProcessInfo) -> bool:
    """Whether the loss of the first replica was noticed, even if another one has replaced it already."""
    first = encoders(client)[0]
    return first.state != "ready" or first.pid != victim.pid


def upload(client: Client, collection: str, halfway: threading.Event) -> None:
    for start in range(0, DOCUMENTS, BATCH):
        client.upsert(collection, [Document(str(number), f"text {number}") for number in range(start, start + BATCH)])
        if start >= DOCUMENTS // 2:
            halfway.set()


def check_complete(client: Client, collection: str) -> None:
    """Every document is searchable, and no attempt to embed one was counted against it."""
    eventually(lambda: client.get_collection(collection).pending == 0, "every document is searchable", within_s=60)
    info = client.get_collection(collection)
    assert (info.documents, info.failed) == (DOCUMENTS, 0)
    states = [client.explain(collection, str(number)).generations[0] for number in range(0, DOCUMENTS, 97)]
    assert {(state.attempts, state.embedded_version) for state in states} == {(0, 1)}
    hits = client.search(collection, "text 777", k=1)
    assert (hits[0].id, hits.coverage.reachable) == ("777", DOCUMENTS)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        # A hanging replica is given up after half a minute.
        pytest.param(signal.SIGSTOP, id="standing still", marks=pytest.mark.slow),
    ],
)
def test_the_other_replica_takes_over(cluster: ClusterProcess, client: Client, harm: signal.Signals) -> None:
    collection = f"harm-{harm.value}"
    client.create_collection(collection, model=MODEL, shards=2, index="flat")
    eventually(lambda: both_ready(client), "both replicas are ready")
    victim, other = encoders(client)
    halfway = threading.Event()
    with Embedders(cluster) as callers:
        writer = threading.Thread(target=upload, args=(client, collection, halfway))
        writer.start()
        assert halfway.wait(60)
        before = callers.answers
        os.kill(victim.pid, harm)
        eventually(lambda: is_missed(client, victim), "the loss is seen")
        eventually(lambda: callers.answers > before + 3 * CALLERS or bool(callers.broken), "the other one answers")
        writer.join(60)
        assert not writer.is_alive()
        # A hanging replica is given up after half a minute.
        eventually(lambda: both_ready(client) and encoders(client)[0].pid != victim.pid, "another is there", within_s=90)
        after = callers.answers
        eventually(lambda: callers.answers > after or bool(callers.broken), "answers go on")
        check_complete(client, collection)
    assert callers.broken == [] and before > 0
    first, second = encoders(client)
    assert first.restarts > victim.restarts and (second.pid, second.restarts) == (other.pid, other.restarts)


def test_replicas_outlive_the_coordinator(cluster: ClusterProcess, client: Client) -> None:
    """Including those of a model that no collection uses."""
    for model in (MODEL, "hashing:32"):
        client.embed(model, ["a text"])

    def pids() -> dict[str, int]:
        replicas = [one for one in client.status().processes if one.kind == ProcessKind.ENCODER]
        return {one.name: one.pid for one in replicas if one.state == "ready"}

    eventually(lambda: len(pids()) == 4, "two replicas of each model are ready")
    before, epoch = pids(), client.status().coordinator_epoch
    cluster.kill9("coordinator")
    eventually(lambda: client.status().coordinator_epoch > epoch, "another coordinator is there")
    eventually(lambda: pids() == before, "it knows them all")
    assert not client.embed("hashing:32", ["a text"]).errors
    # A replica that was slow to answer is missing for a while; a replacement would stay.
    eventually(lambda: pids() == before, "they are the same")
