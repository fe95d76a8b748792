from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.admission import (
    PRIORITY_BACKFILL,
    PRIORITY_EDIT,
    PRIORITY_NEW,
    PRIORITY_REMOVAL,
    Admitted,
    Conflict,
    Incoming,
    Stored,
    Unchanged,
    admit_delete,
    admit_upsert,
    content_hash,
    is_live,
)


def stored(
    version: int = 3, text: str = "reef", payload: str = "{}", deleted: bool = False, embedded: bool = True
) -> Stored:
    return Stored(version, version, content_hash(text, b""), payload, deleted, embedded)


def upsert(before: Stored | None, incoming: Incoming) -> Admitted | Unchanged | Conflict:
    return admit_upsert(before, incoming, content_hash(incoming.text, incoming.vector))


def test_first_insert_is_version_1() -> None:
    assert upsert(None, Incoming("a", "reef")) == Admitted(1, 1, False, PRIORITY_NEW)


def test_insert_after_a_delete_continues_the_version() -> None:
    assert upsert(stored(4, deleted=True), Incoming("a", "reef")) == Admitted(5, 5, False, PRIORITY_NEW)


def test_same_document_is_unchanged() -> None:
    assert upsert(stored(3), Incoming("a", "reef")) == Unchanged(3)


def test_payload_alone_keeps_the_content_version() -> None:
    admitted = upsert(stored(3), Incoming("a", "reef", payload='{"year":2020}'))
    assert isinstance(admitted, Admitted)
    assert (admitted.version, admitted.content_version, admitted.content_changed) == (4, 3, False)


def test_an_edit_goes_before_a_new_document_only_while_an_old_vector_is_searchable() -> None:
    assert upsert(stored(3, embedded=True), Incoming("a", "atoll")) == Admitted(4, 4, False, PRIORITY_EDIT)
    assert upsert(stored(3, embedded=False), Incoming("a", "atoll")) == Admitted(4, 4, False, PRIORITY_NEW)


def test_a_user_vector_counts_as_content() -> None:
    admitted = upsert(stored(3), Incoming("a", "reef", b"\x00\x00\x80\x3f"))
    assert isinstance(admitted, Admitted) and admitted.content_changed


def test_neither_text_nor_vector_is_a_removal_from_the_shards() -> None:
    assert upsert(None, Incoming("a", "")) == Admitted(1, 1, True, PRIORITY_REMOVAL)
    assert upsert(stored(3), Incoming("a", "")) == Admitted(4, 4, True, PRIORITY_REMOVAL)
    assert upsert(None, Incoming("a", "", b"\x00\x00\x80\x3f")) == Admitted(1, 1, False, PRIORITY_NEW)


def test_expected_version() -> None:
    assert upsert(stored(3), Incoming("a", "atoll", expected_version=2)) == Conflict(3)
    assert isinstance(upsert(stored(3), Incoming("a", "atoll", expected_version=3)), Admitted)
    assert upsert(stored(3), Incoming("a", "reef", expected_version=3)) == Unchanged(3)
    assert upsert(None, Incoming("a", "reef", expected_version=1)) == Conflict(0)
    assert isinstance(upsert(None, Incoming("a", "reef", expected_version=0)), Admitted)
    assert upsert(stored(3), Incoming("a", "reef", expected_version=0)) == Conflict(3)


def test_a_deleted_document_does_not_exist() -> None:
    assert upsert(stored(4, deleted=True), Incoming("a", "reef", expected_version=4)) == Conflict(0)
    assert upsert(stored(4, deleted=True), Incoming("a", "reef", expected_version=0)) == Admitted(5, 5, False, PRIORITY_NEW)


def test_delete() -> None:
    assert admit_delete(None) == Unchanged(0)
    assert admit_delete(stored(4, deleted=True)) == Unchanged(4)
    assert admit_delete(stored(4)) == Admitted(5, 5, True, PRIORITY_REMOVAL)


def test_only_removals_and_edits_are_urgent() -> None:
    by_priority = [PRIORITY_REMOVAL, PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_BACKFILL]
    assert [is_live(priority) for priority in by_priority] == [True, True, False, False]


def test_stored_values_never_change() -> None:
    # Frozen values: other ones would reorder stored work and re-embed every stored document.
    assert (PRIORITY_REMOVAL, PRIORITY_EDIT, PRIORITY_NEW, PRIORITY_BACKFILL) == (0, 1, 2, 3)
    digest = "720d18d9a1df6ff8c504f1a03bfd49e9935c8c7e8762d66d8e86c7218b7b8842"
    assert content_hash("東京", b"\x00\x00\x80\x3f").hex() == digest


def test_bytes_do_not_shift_between_text_and_vector() -> None:
    assert content_hash("ab", b"c") != content_hash("a", b"bc")
    assert len(content_hash("", b"")) == 32


texts = st.sampled_from(["", "reef", "atoll"])
payloads = st.sampled_from(["{}", '{"year":2020}'])
writes = st.one_of(st.none(), st.builds(Incoming, st.just("a"), texts, st.just(b""), payloads))


@given(st.lists(writes, max_size=12))
def test_versions_only_grow_and_a_repeat_never_changes_anything(history: list[Incoming | None]) -> None:
    now: Stored | None = None
    for write in history:
        version_before = now.version if now else 0
        decision = upsert(now, write) if write is not None else admit_delete(now)
        if isinstance(decision, Admitted):
            assert decision.version == version_before + 1
            assert decision.content_version <= decision.version
            digest = content_hash(write.text, write.vector) if write else content_hash("", b"")
            payload = write.payload if write else "{}"
            now = Stored(decision.version, decision.content_version, digest, payload, write is None, False)
        again = upsert(now, write) if write is not None else admit_delete(now)
        assert again == Unchanged(now.version if now else 0)
