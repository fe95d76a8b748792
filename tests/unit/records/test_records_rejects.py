from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from shoal.records import RejectedRow, RejectsInOrder, RepeatedIdNotes, RepeatedIds, null_messages, reasons_in_words


def row(line: int) -> RejectedRow:
    return RejectedRow("a", line, "no")


def test_a_rejected_row_in_its_three_forms():
    rejected = RejectedRow("/x/a.csv", 7, "field 'id' is not a valid id: \n'é\x1b'", "é", "a.csv")
    assert rejected.message == "a.csv:7: field 'id' is not a valid id: 'é'"
    assert rejected.kind == "field 'id' is not a valid id"
    values = {"source": "/x/a.csv", "line": 7, "id": "é", "reason": "field 'id' is not a valid id: \n'é\x1b'"}
    assert json.loads(rejected.json) == values and rejected.json.isascii()


def test_reasons_are_said_with_the_commonest_first():
    assert reasons_in_words({}) == ""
    assert reasons_in_words({"not CSV": 1, "not JSON": 3}) == "3 not JSON; 1 not CSV"
    many = {f"kind {number}": number for number in range(1, 11)}
    assert reasons_in_words(many).startswith("10 kind 10; 9 kind 9; ") and reasons_in_words(many).endswith(
        "; 3 for other reasons"
    )


def test_nulls_are_said_by_field():
    assert null_messages({"a": 1, "b": 2}) == [
        "NaN or infinity became null in field 'a' of 1 row",
        "NaN or infinity became null in field 'b' of 2 rows",
    ]


@given(st.lists(st.sampled_from(["good", "read", "refused"]), max_size=30), st.data())
def test_rejects_come_in_order_and_never_before_what_is_in_front_of_them_is_settled(kinds: list[str], data: st.DataObject):
    in_order = RejectsInOrder()
    refused: list[tuple[int, RejectedRow]] = []
    before: dict[int, int] = {}
    documents = 0
    for line, kind in enumerate(kinds):
        before[line] = documents
        if kind == "read":
            in_order.read(row(line))
            continue
        in_order.document()
        if kind == "refused":
            refused.append((documents, row(line)))
        documents += 1
    given_rows: list[int] = []
    settled = 0
    while settled < documents:
        reached = data.draw(st.integers(settled + 1, documents))
        for position, rejected in data.draw(st.permutations([one for one in refused if settled <= one[0] < reached])):
            in_order.refused(position, rejected)
        settled = reached
        given_rows += [one.line for one in in_order.settled(settled)]
        assert all(before[line] <= settled for line in given_rows)
    given_rows += [one.line for one in in_order.settled()]
    assert given_rows == [line for line, kind in enumerate(kinds) if kind != "good"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=2), max_size=60))
def test_an_id_that_came_before_is_known_by_where(ids: list[str]):
    repeated, latest = RepeatedIds(), {}
    for position, id in enumerate(ids):
        assert repeated.earlier(id, position) == latest.get(id)
        latest[id] = position


def test_after_the_first_ids_no_others_are_remembered_and_that_is_said():
    notes = RepeatedIdNotes(lambda position: f"f:{position}", "replaces", " and replaced it", most=2)
    for position, id in enumerate(["a", "b", "c", "a", "c", "a"]):
        notes.add(id, position)
    assert notes.count == 2
    assert notes.lines() == [
        "f:3: id 'a' replaces f:0",
        "f:5: id 'a' replaces f:3",
        "2 rows had the id of an earlier row and replaced it",
        "only the first 2 different ids were compared with later ones",
    ]


def test_the_first_repeated_ids_are_shown_and_all_are_counted():
    notes = RepeatedIdNotes(str, "replaces", "")
    for position in range(100):
        notes.add("same", position)
    assert (notes.count, len(notes.lines())) == (99, 6)
    assert RepeatedIdNotes(str, "replaces", "").lines() == []


def test_many_ids_are_remembered():
    repeated = RepeatedIds()
    assert all(repeated.earlier(f"id-{number}", number) is None for number in range(5000))
    assert [repeated.earlier(f"id-{number}", 0) for number in range(0, 5000, 500)] == list(range(0, 5000, 500))
