"""Deletes the documents that earlier uploads of a folder brought and that are gone from it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from shoal.client.client import Client
from shoal.console import Failure

_WITHOUT_FORCE = 0.5
"""Largest share of a source's documents that is deleted without --force."""


@dataclass(frozen=True, slots=True)
class Gone:
    """What a source had before and no longer has."""

    ids: list[str]
    held: int
    """Documents that the source has, or had until now."""

    def check(self, source: str, force: bool) -> None:
        """Raises Failure if so much is gone that it may be a mistake, such as a disk that is not mounted."""
        if not force and len(self.ids) > _WITHOUT_FORCE * self.held:
            raise Failure(
                f"{len(self.ids)} of {self.held} documents are gone from {source}, more than half: nothing was deleted; "
                "--force deletes them"
            )


def source_of(inputs: Sequence[str]) -> str:
    """The source that the server remembers: the path of the only input, if that is a folder; empty otherwise."""
    if len(inputs) != 1 or not os.path.isdir(inputs[0]):
        return ""
    return os.path.abspath(inputs[0])


def find_gone(client: Client, collection: str, source: str, present: Collection[str]) -> Gone:
    """Which documents of the source are not among those that are `present` in it."""
    ids, held = [], 0
    for document_id in _source_ids(client, collection, source):
        held += 1
        if document_id not in present:
            ids.append(document_id)
    return Gone(ids, held)


def delete_gone(client: Client, collection: str, source: str, gone: Gone, wait: bool) -> int:
    """Deletes them, except those that another source has; returns how many."""
    at_once = client.describe().limits.ids_per_get
    deleted = 0
    for start in range(0, len(gone.ids), at_once):
        some = gone.ids[start : start + at_once]
        last = start + at_once >= len(gone.ids)
        token = client.delete(collection, some, wait=wait and last, source=source)
        deleted += sum(result.changed for result in token.results)
    return deleted


def _source_ids(client: Client, collection: str, source: str) -> Iterator[str]:
    after = ""
    while page := client.source_ids(collection, source, after=after):
        yield from page
        after = page[-1]
