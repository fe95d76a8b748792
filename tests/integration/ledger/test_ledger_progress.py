from collections.abc import Mapping

import pytest
from ledgers import NOW_MS, Ledger, everything_through, only, segment

from shoal.cluster.decisions.admission import PRIORITY_BACKFILL, PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_REMOVAL, Incoming
from shoal.cluster.decisions.placement import shard_of
from shoal.cluster.ledger.errors import CollectionNotFound, OrdinalTaken, ShardNotFound
from shoal.cluster.ledger.records import Applied, FailedAttempt, SegmentCommit, WriteBatch
from shoal.workers.indexing.manifest import IndexSpec, SealedInfo


def in_shard(shard: int, count: int) -> list[str]:
    """Ids of documents that belong to the shard."""
    names = (f"doc-{number}" for number in range(1000))
    return [name for name in names if shard_of(name, 3) == shard][:count]


def test_the_most_urgent_comes_first_with_its_content(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("edited", "one"), Incoming("deleted", "one"))
    ledger.drain(generation)
    vector = b"\x00\x00\x80\x3f" * 8
    ledger.upsert(Incoming("new", "", vector))
    ledger.upsert(Incoming("edited", "two"))
    ledger.delete("deleted")
    documents = ledger.pending(generation)
    assert [(d.id, d.version, d.priority, d.removal, d.text, d.vector) for d in documents] == [
        ("deleted", 2, PRIORITY_REMOVAL, True, "", b""),
        ("edited", 2, PRIORITY_EDIT, False, "two", b""),
        ("new", 1, PRIORITY_NEW, False, "", vector),
    ]
    assert [d.sequence for d in documents] == [4, 3, 2]
    assert all(d.shard == shard_of(d.id, 3) for d in documents)
    assert [d.id for d in ledger.progress.pending(generation, 1, NOW_MS, ["deleted"])] == ["edited"]
    assert [d.id for d in ledger.progress.pending(generation, 2, NOW_MS)] == ["deleted", "edited"]
    urgent = ledger.progress.pending(generation, 9, NOW_MS, priority_to=PRIORITY_EDIT)
    assert [d.id for d in urgent] == ["deleted", "edited"]
    asked: list[tuple[int, dict[int, int]]] = []

    def one_of_each(room: int, waiting: Mapping[int, int]) -> Mapping[int, int]:
        asked.append((room, dict(waiting)))
        return {PRIORITY_EDIT: 1, PRIORITY_NEW: 1}

    shared = ledger.progress.pending(generation, 2, NOW_MS, divide=one_of_each)
    assert [d.id for d in shared] == ["edited", "new"]
    assert asked == [(2, {PRIORITY_REMOVAL: 1, PRIORITY_EDIT: 1, PRIORITY_NEW: 1, PRIORITY_BACKFILL: 0})]
    # A removal needs no encoder.
    assert [ledger.progress.backlog(generation, limit) for limit in (1, 2, 100)] == [1, 2, 2]
    assert ledger.progress.backlog(generation + 1, 100) == 0


def test_commit_makes_a_document_searchable_and_the_manifest_longer(ledger: Ledger) -> None:
    generation = ledger.create().generation
    (name,) = in_shard(1, 1)
    ledger.upsert(Incoming(name, "one"))
    commit = SegmentCommit(generation.id, 1, segment(1, 1, 1), [Applied(name, 1, truncated=True)])
    assert ledger.progress.commit_segments([commit]) == []
    assert ledger.pending(generation.id) == []
    assert ledger.progress.next_ordinals(generation.id) == {0: 1, 1: 2, 2: 1}
    manifest = ledger.progress.manifest(generation.id, 1)
    assert (manifest.spec, manifest.sealed) == (IndexSpec("flat", "cosine", 8), None)
    assert manifest.segments == (segment(1, 1, 1),)
    (state,) = ledger.reader.explain("papers", name).generations
    assert (state.wanted_version, state.embedded_version, state.truncated, state.shard) == (1, 1, True, 1)
    found = ledger.reader.hydrate(generation.collection_id, generation.id, [name], include_text=False)
    assert found[name].truncated and found[name].text is None


def test_an_older_version_never_lowers_what_is_embedded(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "one"))
    first = ledger.pending(generation)
    ledger.upsert(Incoming("a", "two"))
    ledger.apply(generation, first)
    assert [d.version for d in ledger.pending(generation)] == [2]
    ledger.drain(generation)
    ledger.apply(generation, first)
    (state,) = ledger.reader.explain("papers", "a").generations
    assert state.embedded_version == 2 and ledger.pending(generation) == []


def test_an_ordinal_is_taken_once_and_a_second_commit_changes_nothing(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    one, two = in_shard(0, 1), in_shard(1, 1)
    ledger.upsert(Incoming(one[0], "x"), Incoming(two[0], "x"))
    ledger.progress.commit_segments([SegmentCommit(generation, 0, segment(0, 1, 1), [Applied(one[0], 1)])])
    with pytest.raises(OrdinalTaken, match="ordinal 1 is taken, the next is 2"):
        ledger.progress.commit_segments(
            [
                SegmentCommit(generation, 1, segment(1, 1, 1), [Applied(two[0], 1)]),
                SegmentCommit(generation, 0, segment(0, 1, 1), [Applied(one[0], 1)]),
            ]
        )
    assert [d.id for d in ledger.pending(generation)] == two
    assert ledger.progress.manifest(generation, 1).segments == ()


def test_rows_made_for_a_dropped_collection_are_ignored(ledger: Ledger) -> None:
    gone, stays = ledger.create("gone").generation.id, ledger.create("stays").generation.id
    ledger.upsert(Incoming("a", "x"), name="gone")
    ledger.upsert(Incoming("a", "x"), name="stays")
    commits = [
        *ledger.segments(gone, ledger.pending(gone)),
        *ledger.segments(stays, ledger.pending(stays)),
    ]
    ledger.writer.drop_collection("gone")
    assert ledger.progress.commit_segments(commits) == [commits[0].segment.path]
    assert ledger.pending(stays) == []
    assert ledger.progress.next_ordinals(gone) == {}
    assert ledger.progress.commit_sealed(gone, 0, SealedInfo(1, "sealed", "", 0, 0)) == ["sealed"]
    assert ledger.progress.report_damage(gone, 0, [1], sealed=True) == 0
    with pytest.raises(ShardNotFound, match=f"generation {gone} shard 0"):
        ledger.progress.manifest(gone, 0)


def fail(ledger: Ledger, generation: int, name: str, version: int, failed: bool, attempts: int = 1) -> None:
    failure = FailedAttempt(generation, name, version, "tokeniser: bad\x00text", attempts, NOW_MS + 500, failed)
    ledger.progress.record_failures([failure], NOW_MS + 100)


def test_a_failure_waits_then_is_set_aside_then_returns_on_request(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    written = ledger.upsert(Incoming("a", "poison"), Incoming("b", "fine"))
    fail(ledger, generation, "a", 1, failed=False)
    assert [d.id for d in ledger.pending(generation, NOW_MS + 499)] == ["b"]
    retried = {d.id: d.attempts for d in ledger.pending(generation, NOW_MS + 500)}
    assert retried == {"a": 1, "b": 0}
    (state,) = ledger.reader.explain("papers", "a").generations
    assert (state.error, state.next_attempt_at_ms, state.failed) == ("tokeniser: bad\x00text", NOW_MS + 500, False)
    fail(ledger, generation, "a", 1, failed=True, attempts=5)
    assert [d.id for d in ledger.pending(generation, NOW_MS + 10_000)] == ["b"]
    listed = ledger.reader.failed("papers", 10)
    assert listed.total == 1
    assert [(d.id, d.version, d.attempts, d.failed_at_ms) for d in listed.documents] == [("a", 1, 5, NOW_MS + 100)]
    ledger.drain(generation)
    for token in (written.token, everything_through(written)):
        assert not ledger.waits(token), "a token does not wait for what was set aside"
    assert ledger.progress.retry_failed("papers", ["b"]) == 0
    assert ledger.progress.retry_failed("papers", None) == 1
    assert [(d.id, d.attempts) for d in ledger.pending(generation)] == [("a", 0)]
    assert ledger.waits(written.token) and ledger.waits(everything_through(written))
    with pytest.raises(CollectionNotFound):
        ledger.progress.retry_failed("books", None)


def test_a_failure_of_an_older_version_is_ignored_and_an_edit_clears_the_rest(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "poison"))
    fail(ledger, generation, "a", 1, failed=True)
    ledger.upsert(Incoming("a", "better"), now_ms=NOW_MS + 200)
    fail(ledger, generation, "a", 1, failed=True)
    (document,) = ledger.pending(generation)
    assert (document.version, document.attempts, document.sequence) == (2, 0, 2)
    assert ledger.reader.cut("papers").oldest_changed_at_ms == NOW_MS + 200
    ledger.drain(generation)
    fail(ledger, generation, "a", 2, failed=True)
    assert ledger.reader.failed("papers", 10).total == 0, "it was applied in the meantime"


def test_a_removal_is_never_set_aside(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "x"))
    ledger.delete("a")
    fail(ledger, generation, "a", 2, failed=True)
    assert [d.id for d in ledger.pending(generation, NOW_MS + 500)] == ["a"]


def test_a_token_waits_for_its_own_write_whatever_else_is_pending(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    first = ledger.upsert(Incoming("a", "one"))
    second = ledger.upsert(Incoming("b", "one"))
    third = ledger.upsert(Incoming("a", "two"), now_ms=NOW_MS + 50)
    assert [str(one.token) for one in (first, second, third)] == [f"{first.collection_id}:{n}" for n in (1, 2, 3)]
    assert ledger.reader.cut("papers").oldest_changed_at_ms == NOW_MS
    assert all(ledger.waits(one.token) for one in (first, second, third))
    ledger.apply(generation, [d for d in ledger.pending(generation) if d.id == "a"])
    assert not ledger.waits(third.token), "b is another write's"
    assert not ledger.waits(first.token), "a newer version of its document is shown"
    assert ledger.waits(second.token) and ledger.waits(third.token.merged(second.token))
    assert ledger.waits(everything_through(third)) and not ledger.waits(everything_through(first))
    ledger.drain(generation)
    assert not ledger.waits(second.token) and not ledger.waits(everything_through(third))


def test_a_token_of_an_older_version_waits_for_that_version(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    first = ledger.upsert(Incoming("a", "one"))
    old = ledger.pending(generation)
    second = ledger.upsert(Incoming("a", "two"))
    ledger.apply(generation, old)
    assert not ledger.waits(first.token), "its version has been committed, and the document never stops being edited"
    assert ledger.waits(second.token) and ledger.reader.cut("papers").pending == 1


def test_a_repeated_write_waits_for_the_first_one(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "one"), Incoming("b", "one"))
    repeated = ledger.upsert(Incoming("a", "one"))
    payload = ledger.upsert(Incoming("b", "one", payload='{"new":true}'))
    assert not only(repeated).changed and only(payload).changed
    for token in (repeated.token, payload.token):
        assert ledger.waits(token)
    ledger.apply(generation, [d for d in ledger.pending(generation) if d.id == "a"])
    assert (ledger.waits(repeated.token), ledger.waits(payload.token)) == (False, True)
    ledger.drain(generation)
    assert not ledger.waits(payload.token)
    again = ledger.upsert(Incoming("a", "one"))
    assert str(again.token) == f"{again.collection_id}:", "everything of it is shown"
    assert not ledger.waits(again.token)


def test_a_delete_and_a_batch_are_waited_for_as_a_whole(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    batch = ledger.upsert(*(Incoming(str(number), "x") for number in range(5)))
    ledger.apply(generation, ledger.pending(generation, limit=4))
    assert ledger.waits(batch.token)
    ledger.drain(generation)
    deleted = ledger.delete("0", "1")
    assert ledger.waits(deleted.token) and not ledger.waits(batch.token)
    ledger.drain(generation)
    assert not ledger.waits(deleted.token)


def test_what_was_lost_to_damage_is_waited_for_again(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    (name,) = in_shard(0, 1)
    written = ledger.upsert(Incoming(name, "x"))
    ledger.drain(generation)
    later = ledger.upsert(Incoming("later", "x"))
    ledger.drain(generation)
    for _ in range(2):
        ledger.progress.report_damage(generation, 0, [1], sealed=False)
        assert ledger.waits(written.token) and not ledger.waits(later.token)
        # Without the write set too, once that is forgotten.
        assert ledger.progress.forget_write_sets(NOW_MS, NOW_MS + 1, 100) in (2, 0)
    assert ledger.waits(written.token) and not ledger.waits(later.token)
    ledger.drain(generation)
    assert not ledger.waits(written.token)


def test_write_sets_are_forgotten_when_they_are_old_and_shown(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    shown = ledger.upsert(Incoming("a", "x"))
    ledger.drain(generation)
    held_up = ledger.upsert(Incoming("b", "x"), now_ms=NOW_MS + 1)
    after = ledger.upsert(Incoming("c", "x"), now_ms=NOW_MS + 2)
    ledger.apply(generation, [d for d in ledger.pending(generation) if d.id == "c"])
    assert ledger.progress.forget_write_sets(NOW_MS, 0, 100) == 0, "too young"
    assert ledger.progress.forget_write_sets(NOW_MS + 9, 0, 100) == 1, "b is pending since before c"
    assert (ledger.waits(shown.token), ledger.waits(held_up.token), ledger.waits(after.token)) == (False, True, False)
    assert ledger.progress.forget_write_sets(NOW_MS + 9, NOW_MS + 2, 100) == 1, "it is too old to be kept"
    assert ledger.waits(held_up.token) and not ledger.waits(after.token)
    ledger.drain(generation)
    assert not ledger.waits(held_up.token)
    for _ in range(5):
        ledger.upsert(Incoming("d", f"{_}"))
    ledger.drain(generation)
    assert [ledger.progress.forget_write_sets(NOW_MS + 9, 0, 4) for _ in range(3)] == [4, 2, 0]


def test_sealing_replaces_the_segments_it_covers(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    names = in_shard(2, 4)
    for name in names:
        ledger.upsert(Incoming(name, "x"))
        ledger.drain(generation)
    paths = [info.path for info in ledger.progress.manifest(generation, 2).segments]
    assert len(paths) == 4
    sealed = SealedInfo(3, "sealed-3", "checksum", 3, 300)
    assert ledger.progress.commit_sealed(generation, 2, sealed) == paths[:3]
    manifest = ledger.progress.manifest(generation, 2)
    assert (manifest.sealed, manifest.through) == (sealed, 4)
    assert [info.path for info in manifest.segments] == paths[3:]
    assert ledger.progress.commit_sealed(generation, 2, SealedInfo(2, "late", "", 0, 0)) == ["late"]
    newer = SealedInfo(4, "sealed-4", "checksum", 4, 400)
    assert ledger.progress.commit_sealed(generation, 2, newer) == [paths[3], "sealed-3"]
    assert [shard.through for shard in ledger.reader.cut("papers").shards] == [0, 0, 4]
    assert ledger.progress.next_ordinals(generation)[2] == 5
    assert ledger.pending(generation) == []


def damage_counts(ledger: Ledger, generation: int) -> list[int]:
    """Of every shard; cuts and manifests agree on it."""
    counted = [shard.damage_count for shard in ledger.reader.cut("papers").shards]
    assert counted == [ledger.progress.manifest(generation, number).damage_count for number in range(len(counted))]
    return counted


def test_damage_makes_what_was_lost_pending_again_behind_live_edits(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    names = in_shard(0, 4)
    for name in names:
        ledger.upsert(Incoming(name, "x"))
        ledger.drain(generation)
    ledger.delete(names[0])
    ledger.drain(generation)
    assert ledger.progress.report_damage(generation, 0, [2, 5, 77], sealed=False) == 2
    ledger.upsert(Incoming(names[2], "edited"))
    documents = ledger.pending(generation)
    assert [(d.id, d.priority, d.removal) for d in documents] == [
        (names[0], PRIORITY_REMOVAL, True),
        (names[2], PRIORITY_EDIT, False),
        (names[1], PRIORITY_BACKFILL, False),
    ]
    assert [info.ordinal for info in ledger.progress.manifest(generation, 0).segments] == [1, 3, 4]
    assert ledger.progress.next_ordinals(generation)[0] == 6, "a lost ordinal is not given out again"
    assert ledger.reader.cut("papers").shards[0].through == 4
    assert damage_counts(ledger, generation) == [1, 0, 0]
    ledger.drain(generation)
    assert ledger.progress.report_damage(generation, 0, [2], sealed=False) == 0
    assert damage_counts(ledger, generation) == [1, 0, 0], "nothing was lost in that call"


def test_a_damaged_sealed_index_takes_all_that_was_inside(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    names = in_shard(0, 4)
    for name in names:
        ledger.upsert(Incoming(name, "x"))
        ledger.drain(generation)
    ledger.progress.commit_sealed(generation, 0, SealedInfo(3, "sealed-3", "checksum", 3, 300))
    assert ledger.progress.report_damage(generation, 0, [], sealed=True, sealed_through=2) == 0
    assert ledger.progress.report_damage(generation, 0, [1], sealed=True, sealed_through=3) == 3
    assert sorted(d.id for d in ledger.pending(generation)) == sorted(names[:3])
    manifest = ledger.progress.manifest(generation, 0)
    assert manifest.sealed is None and [info.ordinal for info in manifest.segments] == [4]
    assert damage_counts(ledger, generation) == [1, 0, 0]
    assert ledger.progress.report_damage(generation, 0, [], sealed=True) == 0
    assert damage_counts(ledger, generation) == [1, 0, 0]


def test_placements_are_remembered(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.progress.place(generation, {0: "index-0", 2: "index-1"})
    assert ledger.progress.placements() == {(generation, 0): "index-0", (generation, 1): "", (generation, 2): "index-1"}
    assert [shard.worker for shard in ledger.reader.cut("papers").shards] == ["index-0", "", "index-1"]
    ledger.progress.place(generation, {0: ""})
    assert ledger.progress.placements()[generation, 0] == ""


def test_a_segment_of_an_older_version_does_not_bring_a_failed_one_back(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "fine"))
    fine = ledger.pending(generation)
    ledger.upsert(Incoming("a", "poison"))
    fail(ledger, generation, "a", 2, failed=True, attempts=5)
    ledger.apply(generation, fine)
    (state,) = ledger.reader.explain("papers", "a").generations
    assert (state.embedded_version, state.failed, state.attempts) == (1, True, 5)
    assert state.error and ledger.pending(generation, NOW_MS + 10_000) == []


def test_edits_of_a_failed_document_in_one_group_wait_since_the_first(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "poison"))
    fail(ledger, generation, "a", 1, failed=True)
    ledger.writer.write(
        [WriteBatch("papers", [Incoming("a", "better")]), WriteBatch("papers", [Incoming("a", "best")])], NOW_MS
    )
    assert [(d.version, d.sequence) for d in ledger.pending(generation)] == [(3, 2)]
