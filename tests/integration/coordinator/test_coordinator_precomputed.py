"""Vectors that come with a write: applied without an encoder, never stored, never replacing that of a newer text."""

from __future__ import annotations

import grpc
import pytest

from shoal.cluster.coordinator.service import precomputed_of
from shoal.cluster.decisions.admission import Incoming, content_hash
from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.ledger.progress import LedgerProgress
from shoal.v1 import documents_pb2
from shoal.workers.encoding.loading.loading import load_model
from support.coordinator.world import MODEL, NAME, Gate, World, with_index
from support.gateway.small_cluster import eventually

HASHING = load_model(MODEL, threads=1)


def with_embedding(id: str, text: str, made_of: str | None = None, payload: str = "") -> documents_pb2.Document:
    made_of = text if made_of is None else made_of
    vector = HASHING.encode([made_of]).vectors[0].tobytes()
    return documents_pb2.Document(
        id=id,
        text=text,
        payload=payload,
        embedding=documents_pb2.Embedding(
            vector=vector, fingerprint=HASHING.fingerprint, content_hash=content_hash(made_of, b"")
        ),
    )


def waiting(world: World) -> list[str]:
    """Documents whose vector waits in the coordinator's memory."""
    return [id for one in world.now.core.parts._embedders._embedders() for id in one.precomputed.ids()]


def away(world: World) -> None:
    """Stops all index workers, so that nothing can be applied."""
    for name in world.fleet.names("index"):
        world.fleet.kill(name, hold_down=True)
    eventually(lambda: not world.routing().shards)


def back(world: World) -> None:
    for name in world.fleet.names("index"):
        world.fleet.release(name)


def test_precomputed_vectors_need_no_encoder_and_are_applied_once(running: World) -> None:
    documents = [with_embedding(f"d{number}", f"text {number}") for number in range(500)]
    running.send(documents)
    running.settles({f"d{number}": 1 for number in range(500)})
    assert running.fleet.encoded == []
    files = running.files()
    again = running.send(documents)
    assert not any(result.changed for result in again.results)
    eventually(lambda: waiting(running) == [])
    assert running.files() == files


def test_precomputed_vectors_are_not_user_vectors(running: World) -> None:
    running.send([with_embedding("a", "text")])
    running.settles({"a": 1})
    assert running.reader.get(NAME, ["a"])[0].vector == b""
    # The same text without it is the same document.
    assert not running.write({"a": "text"}).results[0].changed


def test_a_newer_text_never_gets_the_older_vector(running: World) -> None:
    away(running)
    running.send([with_embedding("a", "old text"), with_embedding("b", "stays")])
    running.write({"a": "new text"})
    assert sorted(waiting(running)) == ["a", "b"]
    back(running)
    running.settles({"a": 2, "b": 1})
    assert running.fleet.encoded == [["new text"]]


def test_a_vector_of_another_text_is_left_alone(running: World) -> None:
    # The gateway refuses it; the coordinator does not rely on that.
    running.send([with_embedding("a", "this text", made_of="another text")])
    running.settles({"a": 1})
    assert running.fleet.encoded == [["this text"]]


def test_a_deleted_document_does_not_come_back(running: World) -> None:
    running.send([with_embedding("a", "text")])
    running.settles({"a": 1})
    away(running)
    running.send([with_embedding("a", "another")])
    running.send(deletes=["a"])
    back(running)
    running.settles({"a": 0})
    assert waiting(running) == [] and running.fleet.encoded == []


def test_vectors_lost_with_the_coordinator_are_recomputed(running: World) -> None:
    away(running)
    running.send([with_embedding("a", "one"), with_embedding("b", "two")])
    running.now.stop()
    running.start()
    back(running)
    running.settles({"a": 1, "b": 1})
    assert sorted(text for texts in running.fleet.encoded for text in texts) == ["one", "two"]


def test_a_payload_change_leaves_no_vector_behind(running: World) -> None:
    running.send([with_embedding("a", "text")])
    running.settles({"a": 1})
    reply = running.send([with_embedding("a", "text", payload='{"year":2020}')])
    assert reply.results[0].changed
    eventually(lambda: waiting(running) == [])
    assert running.fleet.encoded == []


def test_a_write_that_fails_leaves_nothing_behind(running: World) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        running.send([with_embedding("a\x00", "text"), with_embedding("b", "text")])
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert waiting(running) == []
    running.settles({"b": 0})


def test_a_document_whose_vector_is_about_to_be_committed_is_not_encoded(running: World) -> None:
    away(running)
    running.write({"a": "one"})
    coming = with_embedding("a", "one")
    [embedder] = running.now.core.parts._embedders._embedders()
    kept = embedder.precomputed.put([Incoming("a", "one", precomputed=precomputed_of(coming))])
    back(running)
    running.write({"b": "two"})
    eventually(lambda: running.versions(["b"]) == {"b": 1})
    assert running.fleet.encoded == [["two"]]
    embedder.precomputed.commit(kept)
    running.settles({"a": 1, "b": 1})
    assert running.fleet.encoded == [["two"]]


def test_a_document_that_is_written_as_the_ledger_is_read_is_not_encoded(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, LedgerProgress, "pending")
    gate.wait()
    running.send([with_embedding("a", "text")])
    gate.open()
    running.settles({"a": 1})
    assert running.fleet.encoded == []


def test_precomputed_vectors_wait_for_a_shard_without_a_worker(world: World) -> None:
    world.start(with_index(workers=2))
    world.create(shards=2)
    world.fleet.kill("index-0", hold_down=True)
    eventually(lambda: len(world.routing().shards) == 1)
    (served,) = [route.key.shard for route in world.routing().shards]
    ids = [f"d{number}" for number in range(50)]
    world.send([with_embedding(one, f"text of {one}") for one in ids])
    eventually(lambda: world.cut().shards[served].pending_documents == 0)
    eventually(lambda: sorted(waiting(world)) == sorted(one for one in ids if shard_of(one, 2) != served))
    world.fleet.release("index-0")
    world.settles(dict.fromkeys(ids, 1))
    assert world.fleet.encoded == [] and waiting(world) == []


def test_writers_are_refused_while_too_many_vectors_wait(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    away(running)
    for embedder in running.now.core.parts._embedders._embedders():
        monkeypatch.setattr(embedder.precomputed, "_max_bytes", 1000)
    running.send([with_embedding("a", "one"), with_embedding("b", "two")])
    with pytest.raises(grpc.RpcError) as refusal:
        running.send([with_embedding("c", "three")])
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    # Others continue, and so do these once there is room.
    running.write({"d": "four"})
    back(running)
    eventually(lambda: waiting(running) == [])
    running.send([with_embedding("c", "three")])
    running.settles({"a": 1, "b": 1, "c": 1, "d": 1})
    assert running.fleet.encoded == [["four"]]
