"""The state of the fake gateway, and the faults that a test requests. Its services are in `client_server`."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc

from shoal.v1 import collections_pb2, documents_pb2, errors_pb2, status_pb2

WORDS = re.compile(r"[a-z]+")
# A document with this in its text is refused.
REFUSED = "refuse this"
CREATED_AT_MS = 1_700_000_000_000


@dataclass
class Stored:
    text: str
    payload: str
    version: int
    words: Counter[str] = field(default_factory=Counter)


@dataclass
class Collection:
    settings: collections_pb2.CollectionSettings
    documents: dict[str, Stored] = field(default_factory=dict)
    failed: list[documents_pb2.FailedDocument] = field(default_factory=list)
    sources: dict[str, set[str]] = field(default_factory=dict)
    """Of documents that came from some."""

    def remember(self, request: documents_pb2.UpsertStreamRequest) -> None:
        for document in request.documents if request.source else ():
            self.sources.setdefault(document.id, set()).add(request.source)

    def remove(self, id: str, source: str) -> Stored | None:
        """The document, unless it is not there or another source has it."""
        sources = self.sources.get(id, set())
        sources.discard(source)
        return None if source and sources else self.documents.pop(id, None)

    def source_ids(self, request: documents_pb2.ListSourceIdsRequest) -> list[str]:
        of_source = (id for id, sources in self.sources.items() if request.source in sources and id in self.documents)
        return sorted(id for id in of_source if id > request.after)[: request.limit or 3]


@dataclass
class Fault:
    """How the next `times` calls of a method fail."""

    code: grpc.StatusCode
    details: str = "ordered by the test"
    reason: errors_pb2.ErrorReason.ValueType | None = None
    times: int = 1
    extra: dict[str, Any] = field(default_factory=dict)


class World:
    """The shared state of the services: the collections, the faults, and a record of the calls."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.collections: dict[str, Collection] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.calls: Counter[str] = Counter()
        self.limits = status_pb2.Limits(
            message_bytes=4 * 1024 * 1024,
            documents_per_write=1000,
            id_bytes=512,
            text_bytes=1 << 20,
            payload_bytes=1 << 16,
            dimension=4096,
            k=1000,
            shards=64,
            collection_name_bytes=64,
            texts_per_embed=256,
            ids_per_get=1000,
            failed_per_list=100,
            prompt_characters=4096,
        )
        self.problems: list[status_pb2.Problem] = []
        # How many reads of a collection, or waits for writes, still find changes pending.
        self.pending_looks = 0
        # The tokens of the waits.
        self.awaited: list[str] = []
        # The streams' batch sequences in the order they came, and what to do with them.
        self.batches: list[list[int]] = []
        self.batch_replies = threading.Semaphore(1 << 30)
        self.break_after: list[int] = []
        self.batch_errors: list[errors_pb2.ErrorDetail] = []
        self.delay_s = 0.0
        # Whether an embedding stream is answered two by two, each pair the wrong way round; a lone request is not answered.
        self.in_pairs = False

    def enter(self, method: str, context: grpc.ServicerContext) -> None:
        """Counts a call, and fails it if the test requested that."""
        with self.lock:
            self.calls[method] += 1
            queue = self.faults.get(method, [])
            fault = queue[0] if queue else None
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    queue.pop(0)
        if self.delay_s:
            time.sleep(self.delay_s)
        if fault is not None:
            refuse(context, fault.code, fault.details, fault.reason, **fault.extra)

    def collection(self, name: str, context: grpc.ServicerContext) -> Collection:
        found = self.collections.get(name)
        if found is None:
            reason = errors_pb2.ERROR_REASON_COLLECTION_NOT_FOUND
            refuse(context, grpc.StatusCode.NOT_FOUND, f"no collection {name!r}", reason, field="collection", value=name)
        return found

    def wait(self, request: documents_pb2.WaitRequest, context: grpc.ServicerContext) -> documents_pb2.WaitResponse:
        self.enter("Wait", context)
        failed = self.collection(request.collection, context).failed
        self.awaited.append(request.token)
        if self.pending_looks > 0:
            self.pending_looks -= 1
            time.sleep(min(0.02, request.longest_ms / 1000))
            return documents_pb2.WaitResponse(pending=1)
        return documents_pb2.WaitResponse(failed=failed, failed_total=len(failed))

    def describe(self, name: str) -> collections_pb2.Collection:
        collection = self.collections[name]
        pending = 0
        if self.pending_looks > 0:
            self.pending_looks -= 1
            pending = 1
        documents = len(collection.documents)
        return collections_pb2.Collection(
            name=name,
            settings=collection.settings,
            generation=1,
            fingerprint="f" * 8,
            documents=documents,
            pending=pending,
            failed=len(collection.failed),
            lag_ms=3_600_000 if pending else 0,
            created_at_ms=CREATED_AT_MS,
            shards=[
                collections_pb2.Shard(
                    number=0,
                    worker="index-0",
                    address="127.0.0.1:1",
                    ready=True,
                    documents=documents,
                    delta_rows=documents,
                )
            ],
        )

    def refusal(self, documents: Sequence[documents_pb2.Document]) -> errors_pb2.ErrorDetail | None:
        """As in the gateway, the first bad document refuses its whole batch."""
        seen: set[str] = set()
        for position, document in enumerate(documents):
            if REFUSED in document.text or document.id in seen:
                field = f"documents[{position}].{'id' if document.id in seen else 'text'}"
                reason = errors_pb2.ERROR_REASON_INVALID_ARGUMENT
                return errors_pb2.ErrorDetail(reason=reason, message=f"{field}: {document.id!r} is refused", field=field)
            seen.add(document.id)
        return None

    def write(self, collection: Collection, document: documents_pb2.Document) -> documents_pb2.WriteResult:
        stored = collection.documents.get(document.id)
        version = stored.version if stored else 0
        if document.HasField("expected_version") and document.expected_version != version:
            message = f"document {document.id!r} has version {version}, not {document.expected_version}"
            detail = errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_VERSION_CONFLICT, message=message)
            return documents_pb2.WriteResult(id=document.id, error=detail)
        payload = document.payload or "{}"
        if stored and (stored.text, stored.payload) == (document.text, payload):
            return documents_pb2.WriteResult(id=document.id, version=version, changed=False)
        words = Counter(WORDS.findall(document.text.lower()))
        collection.documents[document.id] = Stored(document.text, payload, version + 1, words)
        return documents_pb2.WriteResult(id=document.id, version=version + 1, changed=True)


def refuse(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    reason: errors_pb2.ErrorReason.ValueType | None = None,
    **extra: Any,
) -> NoReturn:
    if reason is not None:
        detail = errors_pb2.ErrorDetail(reason=reason, message=message, **extra)
        context.set_trailing_metadata((("shoal-error-bin", detail.SerializeToString()),))
    context.abort(code, message)
    raise AssertionError("abort returns never")
