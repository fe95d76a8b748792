import json
import lzma
from importlib import resources

from shoal.client import samples
from support.shared_data import shared_data


def test_there_are_1200_documents_in_order_of_their_ids():
    documents = samples.documents()
    ids = [document.id for document in documents]
    assert len(ids) == len(set(ids)) == 1200
    assert ids == sorted(ids)
    assert all(document.text.startswith("# ") for document in documents)


def test_the_samples_match_the_licence_note():
    with lzma.open(shared_data("edits/tldr-pages/snapshot.jsonl.xz"), "rt") as file:
        pages = [json.loads(line) for line in file]
    pages = [page for page in pages if page["path"].startswith("pages/common/") and "-" not in page["path"]]
    pages.sort(key=lambda page: (-page["text"].count("\n- "), page["path"]))
    expected = sorted((page["path"].removeprefix("pages/").removesuffix(".md"), page["text"]) for page in pages[:1200])
    assert [(document.id, document.text) for document in samples.documents()] == expected


def test_the_package_is_small_and_names_its_authors():
    folder = resources.files(samples)
    assert len(folder.joinpath("tldr.jsonl.xz").read_bytes()) < 300_000
    note = folder.joinpath("tldr-LICENSE.txt").read_text()
    assert "CC BY 4.0" in note and "(c) the tldr-pages team and contributors" in note
