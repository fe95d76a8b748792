"""Whole retrieval sets through `shoal add` and the gateway, against sentence-transformers with an exact scan."""

from __future__ import annotations

import json
import lzma
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from shoal.client import Client
from support.cluster_process import ClusterProcess
from support.shared_data import shared_data

MODEL = "all-MiniLM-L6-v2"
K = 10
TOLERANCE = 0.002

Ranking = Mapping[str, Sequence[str]]


def ndcg(rankings: Ranking, judged: Mapping[str, Mapping[str, int]], k: int) -> float:
    """Mean nDCG@k with linear gains, as trec_eval's ndcg_cut computes it, over the queries that have judgements."""
    scores = []
    for query, relevance in judged.items():
        gains = [relevance.get(document, 0) for document in rankings[query][:k]]
        best = sorted(relevance.values(), reverse=True)[:k]
        ideal = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(best))
        scores.append(sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / ideal)
    return sum(scores) / len(scores)


def read_queries(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")[:3]
        if int(score) > 0:
            judged[query][document] = int(score)
    with (folder / "queries.test.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {row["_id"]: row["text"] for row in rows if row["_id"] in judged}, judged


def exact_rankings(folder: Path, queries: Mapping[str, str]) -> Ranking:
    """sentence-transformers' own encode with its defaults, and a full scan."""
    from sentence_transformers import SentenceTransformer

    from shoal.workers.encoding.loading.sources import packaged_folder

    packaged = packaged_folder(f"sentence-transformers/{MODEL}")
    assert packaged is not None
    model = SentenceTransformer(str(packaged), device="cpu")
    with lzma.open(folder / "corpus.jsonl.xz", "rt", encoding="utf-8") as file:
        corpus = [json.loads(line) for line in file]
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus]
    documents = np.asarray(model.encode(texts, normalize_embeddings=True))
    asked = np.asarray(model.encode(list(queries.values()), normalize_embeddings=True))
    best = np.argsort(-(asked @ documents.T), axis=1)[:, :K]
    return {query: [corpus[row]["_id"] for row in rows] for query, rows in zip(queries, best, strict=True)}


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["scifact"])
def test_answers_are_as_good_as_exact_search_with_the_same_model(name: str, tmp_path: Path) -> None:
    folder = shared_data(f"retrieval/{name}")
    queries, judged = read_queries(folder)
    with closing(ClusterProcess(tmp_path / "data")) as cluster, Client(cluster.address, timeout=120) as shoal:
        shoal.create_collection(name, model=MODEL)
        command = [sys.executable, "-m", "shoal.client.cli", "--address", cluster.address, "--timeout", "3000"]
        added = subprocess.run(
            [*command, "add", name, str(folder / "corpus.jsonl.xz"), "--wait", "--json"],
            check=True,
            capture_output=True,
            text=True,
        )
        print(added.stdout)
        found = {query: [hit.id for hit in shoal.search(name, text, k=K)] for query, text in queries.items()}
        coverage = shoal.search(name, "coverage", k=1).coverage
    assert (coverage.known, coverage.reachable, coverage.pending) == (5183, 5183, 0)
    ours, theirs = ndcg(found, judged, K), ndcg(exact_rankings(folder, queries), judged, K)
    print(f"{name}: nDCG@{K} through the gateway {ours:.4f}, sentence-transformers with exact search {theirs:.4f}")
    assert abs(ours - theirs) <= TOLERANCE
