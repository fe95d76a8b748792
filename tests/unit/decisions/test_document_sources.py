"""The sources of documents within one transaction, against a dictionary that is changed at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.document_sources import SourceChanges

steps = st.lists(
    st.tuples(st.sampled_from(["add", "clear", "remove"]), st.sampled_from("abc"), st.sampled_from(["x", "y", "z"])),
    max_size=12,
)
stored = st.dictionaries(st.sampled_from("abc"), st.frozensets(st.sampled_from(["x", "y", "z"]), min_size=1))


@given(stored, steps)
def test_equals_a_dictionary(before: dict[str, frozenset[str]], changes: list[tuple[str, str, str]]) -> None:
    model = {document: set(sources) for document, sources in before.items()}
    decided = SourceChanges(before)
    for step, document, source in changes:
        if step == "add":
            model.setdefault(document, set()).add(source)
            decided.add(document, source)
        elif step == "clear" or not model.get(document, set()) - {source}:
            if step == "remove":
                assert not decided.remove(document, source), "the document is to be deleted"
            model.pop(document, None)
            decided.clear(document)
        else:
            assert decided.remove(document, source), "another source has it"
            model[document].discard(source)
    # As the ledger carries them out.
    after = {document: set(sources) for document, sources in before.items() if document not in decided.cleared}
    for document, source in decided.removed:
        after.get(document, set()).discard(source)
    for document, sources in decided.added.items():
        after.setdefault(document, set()).update(sources)
    assert {document: sources for document, sources in after.items() if sources} == {
        document: sources for document, sources in model.items() if sources
    }
