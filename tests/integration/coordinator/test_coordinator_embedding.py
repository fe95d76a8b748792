"""From a write to a searchable vector, with encoders that die, refuse and stay away."""

from __future__ import annotations

import grpc
import pytest

from shoal.v1 import documents_pb2
from support.coordinator.world import NAME, World
from support.gateway.small_cluster import eventually, packed

Document = documents_pb2.Document


def failed(world: World) -> dict[str, int]:
    """Attempts of the documents that were set aside."""
    return {document.id: document.attempts for document in world.reader.failed(NAME, 100).documents}


def attempts(world: World, ids: list[str]) -> dict[str, int]:
    found = {one: world.reader.explain(NAME, one).generations[0] for one in ids}
    return {one: state.attempts for one, state in found.items()}


def test_a_write_becomes_searchable(running: World) -> None:
    reply = running.write({"a": "one", "b": "two", "c": "three"})
    assert [(one.id, one.version, one.changed) for one in reply.results] == [("a", 1, True), ("b", 1, True), ("c", 1, True)]
    assert reply.token == f"{running.cut().collection.id}:1"
    running.settles({"a": 1, "b": 1, "c": 1})


def test_edits_deletes_and_reinserts(running: World) -> None:
    running.write({"a": "one", "b": "two"})
    running.write({"a": "another"})
    running.send(deletes=["b"])
    running.settles({"a": 2, "b": 0})
    running.write({"b": "two once more"})
    running.settles({"a": 2, "b": 3})


def test_the_newest_version_wins_when_a_document_is_edited_in_flight(running: World) -> None:
    for number in range(30):
        running.write({"a": f"text {number}", "b": f"other {number // 10}"})
    running.settles({"a": 30, "b": 3})
    assert sum("text 29" in texts for texts in running.fleet.encoded) == 1


def test_users_own_vectors_need_no_encoder(running: World) -> None:
    running.create("vectors", dimension=3)
    running.send([Document(id="v", vector=packed([1, 2, 3]))], name="vectors")
    running.settles({"v": 1}, "vectors")
    running.send([Document(id="v", vector=packed([1, 2, 4]))], name="vectors")
    running.settles({"v": 2}, "vectors")
    assert running.fleet.encoded == []


def test_a_conflict_of_one_document_does_not_affect_the_others(running: World) -> None:
    running.write({"a": "one"})
    reply = running.send([Document(id="a", text="x", expected_version=7), Document(id="b", text="two", expected_version=0)])
    assert [one.HasField("error") for one in reply.results] == [True, False]
    assert "'a' is at version 1" in reply.results[0].error.message
    running.settles({"a": 1, "b": 1})


@pytest.mark.parametrize("harm", ["refused", "deadly"])
def test_a_poison_document_is_set_aside_alone(running: World, harm: str) -> None:
    getattr(running.fleet, harm).add("poison")
    ids = [f"d{number:02}" for number in range(24)]
    running.write({one: "some poison" if one == "d13" else f"healthy {one}" for one in ids})
    running.settles({one: 0 if one == "d13" else 1 for one in ids})
    assert failed(running) == {"d13": 2}
    # Neither documents of the same batch nor those whose calls were lost at the same time.
    assert set(attempts(running, [one for one in ids if one != "d13"]).values()) == {0}
    reason = running.reader.failed(NAME, 1).documents[0].reason
    assert (
        reason
        == {
            "refused": "this batch cannot be done",
            "deadly": "the encoder was lost while it worked on this document",
        }[harm]
    )

    assert running.retry_failed("d13") == 1
    eventually(lambda: running.cut().failed == 1 and running.cut().pending == 0)
    getattr(running.fleet, harm).clear()
    assert running.retry_failed() == 1
    running.settles({"d13": 1})
    assert running.cut().failed == 0


def test_an_edit_fixes_a_poison_document(running: World) -> None:
    running.fleet.refused.add("poison")
    running.write({"a": "poison", "b": "healthy"})
    eventually(lambda: running.cut().failed == 1)
    running.write({"a": "cured"})
    running.settles({"a": 2, "b": 1})
    assert running.cut().failed == 0


def test_a_text_without_words_fails_alone(running: World) -> None:
    running.write({"a": " \t\u00a0", "b": "healthy"})
    running.settles({"a": 0, "b": 1})
    assert failed(running) == {"a": 1}
    assert [len(texts) for texts in running.fleet.encoded] == [2], "the answer cannot change, so it is asked once"


def test_a_document_that_the_encoder_takes_in_no_batch_is_set_aside_at_once(running: World) -> None:
    running.fleet.refused.add("poison")
    running.fleet.refusal = grpc.StatusCode.INVALID_ARGUMENT
    running.write({"a": "poison", "b": "healthy", "c": "healthy too"})
    running.settles({"a": 0, "b": 1, "c": 1})
    assert failed(running) == {"a": 1}


def test_an_unreachable_encoder_does_not_count_as_an_attempt(running: World) -> None:
    (encoder,) = running.fleet.names("encoder")
    running.write({"before": "a text"})
    running.settles({"before": 1})
    running.fleet.kill(encoder, hold_down=True)
    ids = [f"d{number}" for number in range(20)]
    running.write({one: f"text {one}" for one in ids})
    eventually(lambda: not running.routing().encoders)
    assert running.cut().pending == 20
    # Removals and user vectors continue meanwhile.
    running.send([Document(id="own", vector=packed(range(1, 17)))], deletes=["before"])
    eventually(lambda: running.versions(["before", "own"]) == {"before": 0, "own": 1})
    running.fleet.release(encoder)
    running.settles(dict.fromkeys(ids, 1))
    assert running.cut().failed == 0 and set(attempts(running, ids).values()) == {0}


def test_a_new_document_does_not_wait_for_all_the_edits_before_it(running: World) -> None:
    (encoder,) = running.fleet.names("encoder")
    ids = [f"d{number}" for number in range(120)]
    running.write({one: f"text {one}" for one in ids})
    running.settles(dict.fromkeys(ids, 1))
    running.fleet.kill(encoder, hold_down=True)
    running.write({one: f"edited {one}" for one in ids})
    running.write({"new": "a newcomer"})
    running.fleet.encoded.clear()
    running.fleet.release(encoder)
    running.settles({"new": 1} | dict.fromkeys(ids, 2))
    order = [text for texts in running.fleet.encoded for text in texts]
    # Two calls of eight documents are started at a time, and every third document may be a new one.
    assert order.index("a newcomer") < 32


@pytest.mark.parametrize("status", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED])
def test_a_busy_encoder_or_one_with_another_model_does_not_count_as_an_attempt(
    running: World, status: grpc.StatusCode
) -> None:
    running.fleet.refused.add("text")
    running.fleet.refusal = status
    running.write({"a": "a text", "b": "b text"})
    eventually(lambda: len(running.fleet.encoded) >= 3)
    assert attempts(running, ["a", "b"]) == {"a": 0, "b": 0}
    running.fleet.refused.clear()
    running.settles({"a": 1, "b": 1})
