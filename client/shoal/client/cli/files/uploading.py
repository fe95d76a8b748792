"""Uploads of commands: when one ends early, the command says what is stored and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shoal.client import types
from shoal.client.client import Client
from shoal.client.errors import ShoalError
from shoal.console import Failure, print_error

GO_ON = "run the same command again to go on"


def upload(
    client: Client,
    collection: str,
    documents: Iterable[types.Document],
    batch_size: int | None,
    report: Callable[[types.UploadProgress], None],
    wait: bool,
    source: str = "",
) -> types.UpsertSummary:
    """`Client.upsert_many`; when it ends early after some documents were stored, the error says so."""
    stored = sent = 0

    def follow(progress: types.UploadProgress) -> None:
        nonlocal stored, sent
        stored, sent = progress.acknowledged - progress.refused, progress.sent
        report(progress)

    try:
        return client.upsert_many(collection, documents, batch_size=batch_size, progress=follow, wait=wait, source=source)
    except ShoalError as error:
        if error.upload is None or not error.upload.acknowledged:
            raise
        raise Failure(f"{error}; {GO_ON}") from error
    except Failure as error:
        # The input cannot be read any further.
        if not stored:
            raise
        raise Failure(f"{error.message}; {stored} documents before it were stored in {collection}") from error
    except KeyboardInterrupt:
        print_error(f"{stored} of {sent} documents were stored in {collection}; {GO_ON}")
        raise
