"""Kill -9 of each part of a cluster while 2,000 documents go in and searches go on: nothing is lost, doubled or stale."""

from __future__ import annotations

import numpy as np
import pytest

from chaos.everyday_calls import EverydayCalls
from chaos.upload import DOCUMENTS, Acknowledged, Upload, text_of
from shoal.client import Client, Document, Hit
from support.cluster_process import ClusterProcess, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

DIMENSION = 64
PAGE = 1_000
VICTIMS = ["coordinator", "encoder", "index", "gateway"]


def check_stored(client: Client, collection: str, acknowledged: dict[str, Acknowledged]) -> None:
    """Get shows every document in the version acknowledged last, and says that search shows it."""
    ids = sorted(acknowledged)
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        stored = client.get(collection, page)
        assert [document.id for document in stored] == page
        for document in stored:
            known = acknowledged[document.id]
            assert (document.version, document.payload) == (known.version, {"edition": known.edition})
            assert document.text == text_of(document.id, known.edition)
            assert document.searchable, document.id


def check_searchable(client: Client, collection: str, acknowledged: dict[str, Acknowledged]) -> None:
    """Every document is found, once and in its newest version."""
    direction = np.random.default_rng(7).standard_normal(DIMENSION).astype(np.float32)
    found: dict[str, Hit] = {}
    # The nearest to a direction and to its opposite are all documents, except those that an approximate index misses.
    for query in (direction, -direction):
        page = client.search(collection, query, k=PAGE)
        assert page.coverage.fresh and page.coverage.complete
        for hit in page:
            assert hit.id not in found, f"{hit.id} twice"
            found[hit.id] = hit
    assert len(found) > 0.9 * DOCUMENTS
    for missed in acknowledged.keys() - found.keys():
        found[missed] = client.search(collection, text_of(missed, acknowledged[missed].edition), k=1)[0]
        assert found[missed].id == missed
    for document_id, known in acknowledged.items():
        hit = found[document_id]
        assert (hit.version, hit.payload) == (known.version, {"edition": known.edition})


@pytest.mark.parametrize("victim", VICTIMS)
def test_kill_during_upload(cluster: ClusterProcess, client: Client, victim: str) -> None:
    collection = f"kill-{victim}"
    client.create_collection(collection, model=f"hashing:{DIMENSION}", shards=2, index="hnsw")
    upload = Upload(cluster, collection, VICTIMS.index(victim), DIMENSION)
    upload.writer.start()
    upload.searcher.start()
    try:
        assert upload.halfway.wait(60)
        answers_before, written_before = upload.answers, len(upload.acknowledged)
        killed = cluster.kill9(victim)
        upload.writer.join(100)
        assert not upload.writer.is_alive(), "the upload did not end"
        eventually(
            lambda: client.get_collection(collection).pending == 0, "every acknowledged document is searchable", within_s=30
        )
        eventually(lambda: cluster.pids().get(victim, [killed]) != [killed], f"another {victim} is ready")
        answers_after = upload.answers
        eventually(lambda: upload.answers > answers_after or bool(upload.broken), "searches are answered again")
    finally:
        upload.stop_searching.set()
        upload.searcher.join(30)
        upload.writer.join(100)
    assert upload.broken == []
    assert not upload.searcher.is_alive()
    assert written_before < DOCUMENTS, "the kill came after the end of the upload"
    assert answers_before > 0 and upload.answers_with_token > 0
    assert len(upload.acknowledged) == DOCUMENTS

    assert client.get_collection(collection).documents == DOCUMENTS
    check_stored(client, collection, upload.acknowledged)
    check_searchable(client, collection, upload.acknowledged)
    assert client.failed(collection) == []
    client.drop_collection(collection)


@pytest.mark.parametrize("victim", ["gateway", "coordinator"])
def test_callers_with_default_settings_do_not_notice_a_kill(cluster: ClusterProcess, client: Client, victim: str) -> None:
    collection, model = f"unnoticed-{victim}", f"hashing:{DIMENSION}"
    client.create_collection(collection, model=model)
    client.upsert(collection, [Document(f"kept{number}", f"text {number}") for number in range(10)], wait=True)
    with EverydayCalls(cluster.address, collection, model) as calls:
        eventually(lambda: len(calls.answered) == calls.kinds or bool(calls.seen), "every kind of call is answered")
        for _ in range(2):
            killed = cluster.kill9(victim)
            eventually(lambda killed=killed: cluster.pids().get(victim, [killed]) != [killed], f"another {victim} is ready")
            before = calls.answered.copy()
            eventually(
                lambda before=before: len(calls.answered - before) == calls.kinds or bool(calls.seen),
                "every kind of call is answered again",
            )
    assert calls.seen == []
    client.drop_collection(collection)
