"""Waiting for writes, against a plain model of documents, for generated histories."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.tokens.awaited_writes import HELD_DOCUMENTS, AwaitedWrites, ShownState, WriteSet
from shoal.cluster.decisions.tokens.write_token import WriteToken

IDS = ("a", "b", "c", "d")
SHARDS = {name: number % 2 for number, name in enumerate(IDS)}


@dataclass
class Documents:
    """Versions as written, as committed to segments, and as failed; and the write sets that are kept."""

    written: dict[str, int] = field(default_factory=dict)
    states: dict[str, ShownState] = field(default_factory=dict)
    sets: dict[int, WriteSet] = field(default_factory=dict)
    ordinal: int = 0

    def write(self, ids: list[str]) -> None:
        for name in ids:
            self.written[name] = self.written.get(name, 0) + 1
            before = self.states.get(name, ShownState(0, SHARDS[name], 0))
            self.states[name] = ShownState(before.embedded_version, SHARDS[name], before.ordinal)
        sequence = len(self.sets) + 1
        self.sets[sequence] = WriteSet(sequence, tuple((name, self.written[name]) for name in ids))

    def commit(self, name: str) -> None:
        self.ordinal += 1
        self.states[name] = ShownState(self.written[name], SHARDS[name], self.ordinal)

    def fail(self, name: str) -> None:
        state = self.states[name]
        if state.embedded_version < self.written[name]:
            self.states[name] = ShownState(state.embedded_version, state.shard, state.ordinal, failed=True)


def read(awaited: AwaitedWrites, documents: Documents, sets_at_once: int = 100) -> None:
    """What the ledger does at each look."""
    awaited.take_states({name: documents.states[name] for name in awaited.documents if name in documents.states})
    while awaited.wants_sets:
        first, last = awaited.unread[0]
        through = min(last, first + sets_at_once - 1)
        awaited.take_sets([documents.sets[n] for n in range(first, through + 1) if n in documents.sets], through)
        awaited.take_states({name: documents.states[name] for name in awaited.documents if name in documents.states})


def settled(documents: Documents, token: WriteToken) -> set[tuple[str, int]]:
    """By the definition: the documents of the writes that are committed at that version or newer, or have failed."""
    return {
        (name, version)
        for name, version in named(documents, token)
        if documents.states[name].failed or documents.states[name].embedded_version >= version
    }


def named(documents: Documents, token: WriteToken) -> set[tuple[str, int]]:
    sequences = (sequence for first, last in token.ranges for sequence in range(first, last + 1))
    return {one for sequence in sequences for one in documents.sets[sequence].documents}


WRITES = st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True)
LATER = st.lists(st.tuples(st.sampled_from(["write", "commit", "fail"]), st.sampled_from(IDS)), max_size=12)


@given(st.lists(WRITES, min_size=1, max_size=6), LATER, st.data(), st.integers(1, 3))
def test_a_token_waits_for_its_own_writes_and_for_nothing_else(
    writes: list[list[str]], later: list[tuple[str, str]], data: st.DataObject, sets_at_once: int
) -> None:
    documents = Documents()
    for ids in writes:
        documents.write(ids)
    chosen = data.draw(st.sets(st.integers(1, len(writes)), min_size=1))
    awaited = AwaitedWrites(WriteToken.of(1, *chosen))
    read(awaited, documents, sets_at_once)
    needed, done = named(documents, awaited.token), settled(documents, awaited.token)
    assert awaited.settled == (done == needed)
    for action, name in later:
        match action:
            case "write":
                documents.write([name])
            case "commit" if name in documents.written:
                documents.commit(name)
            case "fail" if name in documents.written:
                documents.fail(name)
            case _:
                continue
        read(awaited, documents, sets_at_once)
        # What has failed stays settled for this wait, also when it is written again.
        done |= settled(documents, awaited.token)
        waiting = {name for name, _ in needed - done}
        assert (set(awaited.documents), awaited.settled) == (waiting, not waiting)
    for name in {name for sequence in chosen for name, _ in documents.sets[sequence].documents}:
        if name not in awaited.documents and name not in awaited.failed:
            assert awaited.ordinals[SHARDS[name]] > 0
    assert (awaited.forgotten, awaited.all_shards) == (0, False)


def test_an_edit_is_settled_while_thousands_of_other_documents_are_pending() -> None:
    documents = Documents()
    for _ in range(3):
        documents.write(["a", "b", "c"])
    documents.write(["d"])
    awaited = AwaitedWrites(WriteToken.of(1, 4))
    read(awaited, documents)
    assert awaited.documents == {"d": 1}
    documents.commit("d")
    read(awaited, documents)
    assert awaited.settled and awaited.ordinals == {SHARDS["d"]: 1}


def test_a_document_that_is_edited_again_and_again_is_settled_by_any_newer_version() -> None:
    documents = Documents()
    documents.write(["a"])
    documents.write(["a"])
    awaited = AwaitedWrites(WriteToken.of(1, 1))
    read(awaited, documents)
    documents.states["a"] = ShownState(1, 0, 9)
    read(awaited, documents)
    assert awaited.settled, "version 1 has been committed; version 2 is another write's"


def test_a_document_that_failed_for_good_is_not_waited_for_and_is_named() -> None:
    documents = Documents()
    documents.write(["a", "b"])
    documents.fail("a")
    awaited = AwaitedWrites(WriteToken.of(1, 1))
    read(awaited, documents)
    assert (awaited.settled, awaited.documents, awaited.failed) == (False, {"b": 1}, {"a": 1})
    documents.commit("b")
    read(awaited, documents)
    assert awaited.settled and awaited.failed == {"a": 1}


def test_a_token_of_no_write_is_settled_at_once() -> None:
    awaited = AwaitedWrites(WriteToken.of(1))
    assert (awaited.settled, awaited.wants_sets, awaited.unread) == (True, False, ())


@given(st.sets(st.integers(1, 30), min_size=1), st.sets(st.integers(1, 30)), st.integers(1, 5))
def test_writes_whose_sets_are_gone_are_noticed(wanted: set[int], gone: set[int], sets_at_once: int) -> None:
    documents = Documents(sets={n: WriteSet(n, ()) for n in range(1, 31) if n not in gone})
    awaited = AwaitedWrites(WriteToken.of(1, *wanted))
    named = {n for first, last in awaited.token.ranges for n in range(first, last + 1)}
    read(awaited, documents, sets_at_once)
    missing = max(gone & named, default=0)
    assert (awaited.forgotten, awaited.all_shards, awaited.settled) == (missing, missing > 0, True)


def test_a_token_of_an_earlier_release_needs_all_shards() -> None:
    awaited = AwaitedWrites(WriteToken(1, (), 5))
    assert (awaited.settled, awaited.all_shards) == (True, True)


def test_a_long_upload_is_read_in_parts() -> None:
    sets = {n: WriteSet(n, tuple((f"{n}-{m}", 1) for m in range(1000))) for n in range(1, 11)}
    documents = Documents(sets=sets)
    awaited = AwaitedWrites(WriteToken.of(1, *sets))
    documents.states = {name: ShownState(0, 0, 0) for one in sets.values() for name, _ in one.documents}
    read(awaited, documents, sets_at_once=1)
    assert HELD_DOCUMENTS <= len(awaited.documents) < HELD_DOCUMENTS + 1000 and awaited.unread == ((6, 10),)
    for name in list(documents.states)[:2000]:
        documents.states[name] = ShownState(1, 0, 7)
    read(awaited, documents, sets_at_once=1)
    assert HELD_DOCUMENTS <= len(awaited.documents) < HELD_DOCUMENTS + 1000 and awaited.unread == ((8, 10),)
