import pytest
from ledgers import NOW_MS, Ledger, changed, only
from sqlalchemy import event, func, select

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.ledger import schema
from shoal.cluster.ledger.errors import CollectionExists, CollectionNotFound, DocumentNotFound, MalformedId, ResultTooLarge
from shoal.cluster.ledger.lease import acquire_lease
from shoal.cluster.ledger.records import WriteBatch, WriteOutcome


def test_a_collection_is_read_back_as_it_was_made(ledger: Ledger) -> None:
    made = ledger.create()
    assert ledger.reader.collection("papers") == made
    assert (made.generation.number, made.generation.state, made.generation.dimension) == (1, "active", 8)
    assert made.settings.dimension == 0 and made.sequence == 0
    other = ledger.create("books")
    assert ledger.reader.collections() == [other, made]
    assert ledger.progress.generations() == [made.generation, other.generation]


def test_a_name_is_used_once(ledger: Ledger) -> None:
    ledger.create()
    with pytest.raises(CollectionExists, match="'papers'"):
        ledger.create()
    with pytest.raises(CollectionNotFound, match="'books'"):
        ledger.reader.collection("books")


def test_a_repeated_write_changes_nothing_and_gets_the_same_versions(ledger: Ledger) -> None:
    ledger.create()
    documents = [Incoming("a", "reef"), Incoming("b", "atoll", b"\x00" * 32, '{"year":2020}')]
    first = ledger.upsert(*documents)
    assert changed(first) == [("a", 1, True), ("b", 1, True)]
    again = ledger.upsert(*documents, now_ms=NOW_MS + 5)
    assert changed(again) == [("a", 1, False), ("b", 1, False)]
    assert (first.sequence, again.sequence) == (1, 2), "the second token waits for what the first write left pending"
    assert [document.changed_at_ms for document in ledger.reader.get("papers", ["a"])] == [NOW_MS]


def test_a_payload_change_needs_no_work_of_shards(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "reef"))
    ledger.drain(generation)
    outcome = ledger.upsert(Incoming("a", "reef", payload='{"year":2020}'))
    assert changed(outcome) == [("a", 2, True)] and outcome.sequence == 2
    assert ledger.pending(generation) == []
    found = ledger.reader.hydrate(outcome.collection_id, generation, ["a"], include_text=True)["a"]
    assert (found.version, found.content_version, found.payload, found.text) == (2, 1, '{"year":2020}', "reef")


def test_versions_go_on_after_a_delete(ledger: Ledger) -> None:
    ledger.create()
    ledger.upsert(Incoming("a", "reef"))
    assert changed(ledger.delete("a", "never")) == [("a", 2, True), ("never", 0, False)]
    assert ledger.reader.get("papers", ["a"]) == []
    assert changed(ledger.delete("a")) == [("a", 2, False)]
    assert changed(ledger.upsert(Incoming("a", "reef"))) == [("a", 3, True)]
    assert [document.version for document in ledger.reader.get("papers", ["a"])] == [3]


def test_an_expected_version_refuses_one_document_and_the_others_are_written(ledger: Ledger) -> None:
    ledger.create()
    ledger.upsert(Incoming("a", "reef"))
    outcome = ledger.upsert(Incoming("a", "x", expected_version=7), Incoming("b", "y", expected_version=0))
    assert [(result.changed, result.conflict_version) for result in outcome.results] == [(False, 1), (True, None)]
    assert only(ledger.upsert(Incoming("c", "z", expected_version=1))).conflict_version == 0
    assert [document.text for document in ledger.reader.get("papers", ["a", "b", "c"])] == ["reef", "y"]


def test_a_group_is_one_transaction_in_which_later_batches_see_earlier_ones(ledger: Ledger) -> None:
    ledger.create()
    ledger.create("books")
    outcomes = ledger.writer.write(
        [
            WriteBatch("papers", [Incoming("a", "one")]),
            WriteBatch("nowhere", [Incoming("a", "one")]),
            WriteBatch("papers", [Incoming("a", "one")]),
            WriteBatch("books", [Incoming("a", "one")]),
            WriteBatch("papers", [Incoming("a", "two", expected_version=1)], ["gone"]),
            WriteBatch("papers", [], ["a"]),
        ],
        NOW_MS,
    )
    assert isinstance(outcomes[1], CollectionNotFound)
    kept = [outcome for outcome in outcomes if isinstance(outcome, WriteOutcome)]
    assert [outcome.sequence for outcome in kept] == [1, 2, 1, 3, 4]
    assert [changed(outcome)[0] for outcome in kept] == [
        ("a", 1, True),
        ("a", 1, False),
        ("a", 1, True),
        ("a", 2, True),
        ("a", 3, True),
    ]
    assert ledger.reader.get("papers", ["a"]) == []
    assert ledger.reader.collection("papers").sequence == 4
    assert ledger.reader.collection("books").sequence == 1


def test_a_document_that_never_reached_a_shard_needs_no_removal(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.writer.write([WriteBatch("papers", [Incoming("a", "one")]), WriteBatch("papers", [], ["a"])], NOW_MS)
    ledger.upsert(Incoming("empty", ""))
    assert ledger.pending(generation) == []
    # Another transaction's insert may be on its way into a segment by now.
    ledger.upsert(Incoming("b", "one"))
    ledger.delete("b")
    assert [(document.id, document.removal) for document in ledger.pending(generation)] == [("b", True)]


def test_a_document_with_nothing_to_embed_is_kept_and_not_searched(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    ledger.upsert(Incoming("a", "reef"), Incoming("b", ""))
    ledger.drain(generation)
    assert [document.searchable for document in ledger.reader.get("papers", ["a", "b"])] == [True, False]
    assert sum(shard.documents for shard in ledger.reader.cut("papers").shards) == 1
    ledger.upsert(Incoming("a", ""), Incoming("b", "atoll"))
    cut = ledger.reader.cut("papers")
    assert sum(shard.documents for shard in cut.shards) == 1
    assert sum(shard.pending_removals for shard in cut.shards) == sum(shard.pending_documents for shard in cut.shards) == 1
    ledger.drain(generation)
    assert [document.searchable for document in ledger.reader.get("papers", ["a", "b"])] == [False, True]


def test_texts_may_hold_anything_and_ids_no_nul(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    odd = "nul \x00, snowman ☃, quote ' and \\ \U0001f41f"
    outcomes = ledger.writer.write(
        [WriteBatch("papers", [Incoming("a\x00b", "x")]), WriteBatch("papers", [Incoming("東京 '☃'", odd)])], NOW_MS
    )
    assert isinstance(outcomes[0], MalformedId) and isinstance(outcomes[1], WriteOutcome)
    assert [document.text for document in ledger.reader.get("papers", ["東京 '☃'"])] == [odd]
    assert [document.text for document in ledger.pending(generation)] == [odd]


def test_get_keeps_the_order_asked_for_and_leaves_out_the_unknown(ledger: Ledger) -> None:
    ledger.create()
    ledger.upsert(*(Incoming(str(number), f"text {number}") for number in range(5)))
    assert [document.id for document in ledger.reader.get("papers", ["3", "nope", "0", "4"])] == ["3", "0", "4"]
    with pytest.raises(DocumentNotFound, match="'papers' has no document 'nope'"):
        ledger.reader.explain("papers", "nope")


def test_more_documents_than_fit_into_one_statement(ledger: Ledger) -> None:
    collection = ledger.create()
    documents = [Incoming(str(number), "x") for number in range(4200)]
    ledger.upsert(*documents)
    assert not any(result.changed for result in ledger.upsert(*documents).results)
    ids = [document.id for document in documents]
    assert len(ledger.reader.hydrate(collection.id, collection.generation.id, ids, include_text=False)) == 4200


def test_a_dropped_collection_leaves_nothing_and_its_ids_never_come_back(ledger: Ledger) -> None:
    first = ledger.create()
    ledger.upsert(*(Incoming(str(number), "x") for number in range(10)))
    ledger.delete("0")
    ledger.drain(first.generation.id)
    dropped = ledger.writer.drop_collection("papers")
    assert (dropped.documents, dropped.generation_ids) == (9, [first.generation.id])
    with ledger.engine.connect() as connection:
        for table in schema.metadata.sorted_tables:
            rows = connection.execute(select(func.count()).select_from(table)).scalar_one()
            assert rows == (1 if table.name == "lease" else 0), table.name
    with pytest.raises(CollectionNotFound):
        ledger.writer.drop_collection("papers")
    second = ledger.create()
    assert second.id > first.id and second.generation.id > first.generation.id


def test_the_number_of_statements_does_not_grow_with_the_documents(ledger: Ledger) -> None:
    ledger.create()
    statements: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
    counts: list[int] = []
    for size in (10, 1000):
        for text in ("reef", "atoll", "atoll"):
            statements.clear()
            ledger.upsert(*(Incoming(f"{size}-{number}", text) for number in range(size)))
            counts.append(len(statements))
    assert counts[:3] == counts[3:]
    assert max(counts) <= 11


def test_a_write_is_all_or_nothing(ledger: Ledger) -> None:
    ledger.create()
    lone_surrogate = "\ud800"
    with pytest.raises(UnicodeEncodeError):
        ledger.writer.write(
            [WriteBatch("papers", [Incoming("a", "x")]), WriteBatch("papers", [Incoming("b", lone_surrogate)])], NOW_MS
        )
    assert ledger.reader.get("papers", ["a"]) == []
    assert ledger.reader.collection("papers").sequence == 0
    assert acquire_lease(ledger.engine, "coordinator", "", 1, NOW_MS) == ledger.epoch + 1


def test_documents_are_read_until_they_are_too_large_together(ledger: Ledger) -> None:
    ledger.create()
    ids = [f"{n:03}" for n in range(100)]
    ledger.upsert(*(Incoming(one, "é" * 10) for one in ids))
    # An id of 3 bytes, a text of 20, and the payload {}.
    assert len(ledger.reader.get("papers", ids, 2500)) == 100
    with pytest.raises(ResultTooLarge, match="more than 2499 bytes, the limit is 2499"):
        ledger.reader.get("papers", ids, 2499)


def test_documents_are_listed_by_source_until_they_are_deleted(ledger: Ledger) -> None:
    ledger.create()
    other = ledger.create("books")

    def write(*ids: str, source: str = "", deletes: tuple[str, ...] = (), collection: str = "papers") -> WriteOutcome:
        return ledger.write(WriteBatch(collection, [Incoming(one, "text") for one in ids], deletes, source))

    write("a", "b", "c", source="/x")
    write("b", "d", source="/y")
    write("e")
    write("a", source="/x", collection="books")
    page = ledger.reader.source_ids
    assert page("papers", "/x", "", 9) == ["a", "b", "c"] and page("papers", "/y", "", 9) == ["b", "d"]
    assert (page("papers", "/x", "", 2), page("papers", "/x", "b", 2), page("papers", "", "", 9)) == (["a", "b"], ["c"], [])
    # Unchanged documents count too, and a conflict does not.
    write("c", source="/y")
    only(ledger.write(WriteBatch("papers", [Incoming("e", "new", expected_version=9)], (), "/y")))
    assert page("papers", "/y", "", 9) == ["b", "c", "d"]
    # b and c are in /y too; a is not.
    gone = write(source="/x", deletes=("a", "b", "c", "never"))
    assert changed(gone) == [("a", 2, True), ("b", 1, False), ("c", 1, False), ("never", 0, False)]
    assert page("papers", "/x", "", 9) == [] and page("papers", "/y", "", 9) == ["b", "c", "d"]
    assert [document.id for document in ledger.reader.get("papers", ["a", "b", "c"])] == ["b", "c"]
    write(deletes=("b",))
    assert page("papers", "/y", "", 9) == ["c", "d"]
    write("b")
    assert page("papers", "/y", "", 9) == ["c", "d"], "a deleted document forgets its sources"
    ledger.writer.drop_collection("papers")
    assert page("books", "/x", "", 9) == ["a"]
    ledger.writer.drop_collection(other.name)
    with ledger.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(schema.document_source)).scalar() == 0
