"""Collections and documents from creation to deletion in a real cluster, with both clients and every kind of index."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from shoal.client import (
    AsyncClient,
    Client,
    CollectionExists,
    CollectionNotFound,
    Document,
    DocumentNotFound,
    UploadProgress,
    VersionConflict,
)
from shoal.client.types import IndexKind
from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.static.table_model import NOTHING_KNOWN
from shoal.workers.encoding.word_vectors.word_folder import Pooling
from support.cluster_process import ClusterProcess, eventually, shoal
from support.models.model_folders import HIDDEN, trained_folder

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

MODEL = "hashing:128"
SEAL_SOON = 'metrics = "127.0.0.1:0"\n[index]\nseal_delta_rows = 200\nseal_segments = 4\nfile_grace_s = 0.5\n'
SEALED_DOCUMENTS = 600
TRAINED_TEXTS = ["the moon locks slowly", "a shoal of fish turns at once", "in deep water"]


@pytest.fixture(scope="module")
def sealing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """A cluster that seals its shards after a few hundred rows."""
    running = ClusterProcess(tmp_path_factory.mktemp("sealing") / "data", config=SEAL_SOON)
    try:
        yield running
        assert running.stop() == 0
        assert running.leftovers() == []
    finally:
        running.close()


def test_blocking_client(client: Client) -> None:
    info = client.create_collection("blocking", model=MODEL, shards=3, index="flat")
    assert (info.dimension, info.index, info.metric, len(info.shards)) == (128, "flat", "cosine", 3)
    with pytest.raises(CollectionExists):
        client.create_collection("blocking", model=MODEL)

    token = client.upsert(
        "blocking", [Document("cat", "a cat sleeps", payload={"n": 1}), Document("dog", "a dog barks", payload={"n": 2})]
    )
    answer = client.search("blocking", "a cat sleeps", token=token, include_text=True)
    assert [hit.id for hit in answer] == ["cat", "dog"]
    assert (answer[0].text, answer[0].payload, answer[0].truncated) == ("a cat sleeps", {"n": 1}, False)
    assert answer[0].score == pytest.approx(1.0, abs=1e-5)
    assert (answer.coverage.known, answer.coverage.reachable, answer.coverage.shards) == (2, 2, 3)

    edited = client.upsert("blocking", [Document("cat", "an owl flies", payload={"n": 3})])
    assert edited.results[0].changed and edited.results[0].version > token.results[0].version
    answer = client.search("blocking", "an owl flies", k=1, token=edited, include_text=True)
    assert (answer[0].id, answer[0].text, answer[0].version) == ("cat", "an owl flies", edited.results[0].version)
    assert answer[0].score == pytest.approx(1.0, abs=1e-5)
    same = client.upsert("blocking", [Document("cat", "an owl flies", payload={"n": 3})])
    assert (same.results[0].changed, same.results[0].version) == (False, edited.results[0].version)

    with pytest.raises(VersionConflict) as conflict:
        client.upsert("blocking", [Document("cat", "a fish swims", expected_version=token.results[0].version)])
    assert "cat" in str(conflict.value)

    explanation = client.explain("blocking", "cat")
    state = explanation.generations[0]
    assert explanation.wanted_version == state.embedded_version == state.served_version == edited.results[0].version
    with pytest.raises(DocumentNotFound):
        client.explain("blocking", "bird")

    deleted = client.delete("blocking", ["dog", "bird"])
    assert [result.changed for result in deleted.results] == [True, False]
    assert [hit.id for hit in client.search("blocking", "a dog barks", token=deleted)] == ["cat"]
    assert [document.id for document in client.get("blocking", ["dog", "cat"])] == ["cat"]
    assert client.failed("blocking") == [] and client.retry_failed("blocking") == 0

    assert client.drop_collection("blocking") == 1
    with pytest.raises(CollectionNotFound):
        client.search("blocking", "a cat sleeps")


def test_a_payload_alone_can_change(client: Client) -> None:
    client.create_collection("payloads", model=MODEL)
    client.upsert("payloads", [Document("one", "same text", payload={"n": 1})], wait=True)
    token = client.upsert("payloads", [Document("one", "same text", payload={"n": 2})])
    hit = client.search("payloads", "same text", token=token)[0]
    assert (hit.payload, hit.version) == ({"n": 2}, token.results[0].version)
    assert client.explain("payloads", "one").wanted_version < token.results[0].version
    client.drop_collection("payloads")


def test_streaming_upload(client: Client) -> None:
    client.create_collection("streamed", model=MODEL)
    seen: list[UploadProgress] = []
    documents = (Document(str(number), f"text of number {number}" if number != 50 else "") for number in range(300))
    summary = client.upsert_many("streamed", documents, batch_size=40, progress=seen.append, wait=True)
    assert (summary.documents, summary.changed, summary.refused) == (300, 299, 1)
    assert [(refusal.position, refusal.id) for refusal in summary.refusals] == [(50, "50")]
    assert seen[-1].acknowledged == 300
    assert client.search("streamed", "text of number 123", k=1)[0].id == "123"
    assert client.get_collection("streamed").documents == 299
    client.drop_collection("streamed")


def test_own_vectors(client: Client) -> None:
    client.create_collection("own", dimension=4, metric="l2", index="hnsw")
    vectors = np.eye(4, dtype=np.float32)
    token = client.upsert("own", [Document(str(row), vector=vector) for row, vector in enumerate(vectors)])
    answer = client.search("own", vectors[2], k=2, token=token)
    assert answer[0].id == "2"
    assert [hit.score for hit in answer] == pytest.approx([0.0, -2.0])
    client.drop_collection("own")


def test_trained_word_vectors_are_a_model(cluster: ClusterProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained_folder(tmp_path / "trained", Pooling.SIF)
    (tmp_path / "notes.jsonl").write_text(
        "".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(TRAINED_TEXTS))
    )
    # By a relative path that is valid for this command only, not for the server in its own folder.
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Any:
        ended = shoal("--address", cluster.address, *arguments, "--json")
        assert ended.returncode == 0, ended
        return json.loads(ended.stdout)

    made = run("create", "trained", "--model", "./trained", "--index", "flat")
    assert (made["model"], made["dimension"]) == (str(folder), HIDDEN)
    run("add", "trained", "notes.jsonl", "--wait")
    hits = run("search", "trained", "Is it the deep WATER?", "-k", "3")["hits"]
    query, *documents = load_model(str(folder), threads=1).encode(["the deep water", *TRAINED_TEXTS]).vectors
    expected = sorted(((float(query @ vector), str(number)) for number, vector in enumerate(documents)), reverse=True)
    assert [hit["id"] for hit in hits] == [number for _, number in expected] and hits[0]["id"] == "2"
    assert [hit["score"] for hit in hits] == pytest.approx([score for score, _ in expected], abs=1e-5)

    with cluster.client() as client:
        client.upsert("trained", [Document("unknown", "qwerty"), Document("4", "one star")])
        eventually(lambda: bool(client.failed("trained")), "what has no known word is set aside")
        assert [(one.id, NOTHING_KNOWN in one.reason) for one in client.failed("trained")] == [("unknown", True)]
        assert client.search("trained", "one star", k=1)[0].id == "4"
    run("drop", "trained", "--yes")


def test_embedding_status_and_describe(client: Client) -> None:
    embedded = client.embed(MODEL, ["a cat sleeps", "", "a cat sleeps"])
    assert embedded.vectors.shape == (3, 128) and embedded.vectors.dtype == np.float32
    assert np.array_equal(embedded.vectors[0], embedded.vectors[2])
    assert list(embedded.errors) == [1] and embedded.tokens.tolist() == [3, 0, 3]
    assert embedded.timing.total_s >= embedded.timing.infer_s > 0
    blocks = list(client.embed_many(MODEL, (f"note {number}" for number in range(1000)), dimensions=16, batch_size=150))
    assert [block.start for block in blocks] == list(range(0, 1000, 150))
    assert np.array_equal(blocks[6].vectors[99], client.embed(MODEL, ["note 999"], dimensions=16).vectors[0])
    before = client.status().query_cache
    asked = [client.embed(MODEL, ["what sleeps?"], role="query").vectors for _ in range(3)]
    assert np.array_equal(asked[0], asked[2])
    status = client.status()
    assert (status.query_cache.hits - before.hits, status.query_cache.misses - before.misses) == (2, 1)
    assert {process.kind for process in status.processes} == {"coordinator", "encoder", "index", "gateway"}
    assert len({process.pid for process in status.processes}) == len(status.processes)
    assert status.coordinator_epoch >= 1
    server = client.describe()
    assert (server.api, server.version) == ("shoal.v1", status.version)
    assert server.limits.k == 1000


def test_metrics_are_served_again_after_the_gateway_died(sealing: ClusterProcess) -> None:
    def scraped() -> str:
        try:
            with urllib.request.urlopen(f"http://{sealing.ready['metrics']}/metrics", timeout=5) as reply:
                return reply.read().decode()
        except OSError:
            return ""

    with sealing.client() as client:
        client.embed(MODEL, ["a cat sleeps"])
        assert 'shoal_embedded_texts_total{role="document"} 1.0' in scraped()
        assert f'model="{MODEL}"' in scraped()
        sealing.kill9("gateway")
        eventually(lambda: "shoal_requests_in_flight" in scraped(), "the metrics are back")
        client.embed(MODEL, ["a cat sleeps"])
        assert 'shoal_requests_total{method="Embed",status="OK"} 1.0' in scraped()


def test_async_client(cluster: ClusterProcess) -> None:
    async def live() -> None:
        async with AsyncClient(cluster.address, timeout=60.0) as client:
            await client.create_collection("awaited", model=MODEL, index="ivf")
            summary = await client.upsert_many(
                "awaited", (Document(f"d{number}", f"note {number}") for number in range(100)), batch_size=30, wait=True
            )
            assert summary.changed == 100
            answers = await asyncio.gather(*(client.search("awaited", f"note {number}", k=1) for number in range(0, 100, 5)))
            assert [answer[0].id for answer in answers] == [f"d{number}" for number in range(0, 100, 5)]
            token = await client.upsert("awaited", [Document("d5", "entirely new")])
            hit = (await client.search("awaited", "entirely new", k=1, token=token, include_text=True))[0]
            assert (hit.id, hit.text) == ("d5", "entirely new")
            explanation = await client.explain("awaited", "d5")
            assert explanation.generations[0].served_version == token.results[0].version
            token = await client.delete("awaited", ["d5"])
            assert "d5" not in {hit.id for hit in await client.search("awaited", "entirely new", k=200, token=token)}
            assert await client.get("awaited", ["d5"]) == []
            assert await client.failed("awaited") == [] and await client.retry_failed("awaited") == 0
            assert (await client.get_collection("awaited")).documents == 99
            assert "awaited" in {info.name for info in await client.list_collections()}
            assert (await client.embed(MODEL, ["one"], role="query")).vectors.shape == (1, 128)
            texts = (f"note {number}" for number in range(300))
            assert sum([len(block) async for block in client.embed_many(MODEL, texts, batch_size=70)]) == 300
            assert (await client.status()).version == (await client.describe()).version
            assert await client.drop_collection("awaited") == 99

    asyncio.run(live())


@pytest.mark.parametrize("kind", get_args(IndexKind))
def test_sealed_shards_show_edits_and_deletes_at_once(sealing: ClusterProcess, kind: IndexKind) -> None:
    with sealing.client() as client:
        client.create_collection(kind, model=MODEL, index=kind, shards=2)
        texts = {f"d{number}": f"record {number} of series{number % 13}" for number in range(SEALED_DOCUMENTS)}
        client.upsert_many(kind, (Document(name, text) for name, text in texts.items()), batch_size=100, wait=True)
        eventually(
            lambda: all(shard.sealed_rows for shard in client.get_collection(kind).shards), "all shards are sealed", 60
        )
        for name in list(texts)[::60]:
            assert name in {hit.id for hit in client.search(kind, texts[name], k=10)}

        edited = list(texts)[::50]
        token = client.upsert(kind, [Document(name, f"rewritten {name} entirely") for name in edited])
        for name in edited:
            hit = client.search(kind, f"rewritten {name} entirely", k=1, token=token, include_text=True)[0]
            assert (hit.id, hit.text) == (name, f"rewritten {name} entirely")
            for other in client.search(kind, texts[name], k=10, include_text=True):
                assert other.id != name or other.text == f"rewritten {name} entirely"
        gone = set(list(texts)[1::50])
        token = client.delete(kind, sorted(gone))
        for name in gone:
            assert gone.isdisjoint(hit.id for hit in client.search(kind, texts[name], k=50, token=token))
        info = client.get_collection(kind)
        assert (info.documents, info.failed) == (SEALED_DOCUMENTS - len(gone), 0)
        client.drop_collection(kind)
        # A dropped collection leaves no file.
        eventually(lambda: not _files(sealing.data), "the files of a dropped collection are cleared away")


def _files(data: Path) -> list[Path]:
    return [path for path in (data / "vectors").rglob("*") if path.is_file()]
