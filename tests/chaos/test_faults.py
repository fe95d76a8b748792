"""Runs of a cluster with many random faults: an answer that lacks a document says so, and in the end none does."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chaos.faults import NAME, Cluster
from shoal.cluster.coordinator.fleet import supervision
from shoal.cluster.decisions import sealing
from shoal.cluster.decisions.processes.liveness import LivenessPolicy
from support.coordinator.world import World
from support.postgresql import postgresql_server, postgresql_url

__all__ = ["postgresql_server", "postgresql_url"]

STEPS = 25
# One run for each kind of index, and many more with -m slow.
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 30))]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_answer_claims_to_be_fresh_while_it_lacks_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    live(World(tmp_path), monkeypatch, seed)


@pytest.mark.postgresql
@pytest.mark.parametrize("seed", SEEDS[2:])
def test_no_answer_claims_to_be_fresh_while_it_lacks_a_document_with_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_url: str, seed: int
) -> None:
    live(World(tmp_path, postgresql_url), monkeypatch, seed)


def live(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A whole run, until everything is searchable."""
    monkeypatch.setattr(supervision, "LIVENESS", LivenessPolicy(locate_pause_s=0.02, probe_s=0.05))
    monkeypatch.setattr(sealing, "SEAL_PAUSE_S", 0.1)
    try:
        cluster = Cluster(world, seed, monkeypatch)
        try:
            live_through(cluster, seed)
        finally:
            cluster.close()
    finally:
        world.close()


def live_through(cluster: Cluster, seed: int) -> None:
    """Alternates writes and searches, with faults at chosen moments."""
    draw = cluster.draw
    cluster.client.create_collection(NAME, model="hashing:16", index=("flat", "hnsw", "ivf")[seed % 3], shards=2)
    for _ in range(STEPS):
        cluster.failing.share = draw.choice([0.0, 0.0, 0.1, 0.4])
        cluster.write()
        fault = None
        if draw.random() < 0.5:
            # From before the search to well within it.
            fault = threading.Timer(draw.choice([0.0, 0.01, 0.05]), cluster.harm)
            fault.start()
        for _ in range(draw.randint(1, 4)):
            cluster.search()
        if fault is not None:
            fault.join()
        if draw.random() < 0.3:
            cluster.heals()
    cluster.heals()
    # Otherwise the run tested nothing.
    assert len(cluster.answers) > STEPS and any(not answer.coverage.fresh for answer in cluster.answers)
