"""An in-process fake of the gateway, for tests of the client: a real gRPC server over a dictionary.

Run as a script it plays `shoal serve`: it prints the ready line and serves until SIGTERM.
"""

# grpc's classes are generic only in their type stubs, so annotations must not be evaluated.
from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np

from shoal.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    documents_pb2,
    documents_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    errors_pb2,
    search_pb2,
    search_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
)
from support.gateway.client_world import CREATED_AT_MS, WORDS, Collection, Fault, World, refuse


class CollectionService(collections_pb2_grpc.CollectionServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def CreateCollection(
        self, request: collections_pb2.CreateCollectionRequest, context: Any
    ) -> collections_pb2.CreateCollectionResponse:
        self._world.enter("CreateCollection", context)
        with self._world.lock:
            if request.name in self._world.collections:
                reason = errors_pb2.ERROR_REASON_COLLECTION_EXISTS
                refuse(context, grpc.StatusCode.ALREADY_EXISTS, f"collection {request.name!r} exists", reason, field="name")
            settings = request.settings
            settings.index = settings.index or collections_pb2.INDEX_KIND_HNSW
            settings.shards = settings.shards or 1
            settings.dimension = settings.dimension or 384
            self._world.collections[request.name] = Collection(settings)
            return collections_pb2.CreateCollectionResponse(collection=self._world.describe(request.name))

    def GetCollection(
        self, request: collections_pb2.GetCollectionRequest, context: Any
    ) -> collections_pb2.GetCollectionResponse:
        self._world.enter("GetCollection", context)
        self._world.collection(request.name, context)
        return collections_pb2.GetCollectionResponse(collection=self._world.describe(request.name))

    def ListCollections(self, request: object, context: Any) -> collections_pb2.ListCollectionsResponse:
        self._world.enter("ListCollections", context)
        return collections_pb2.ListCollectionsResponse(
            collections=map(self._world.describe, sorted(self._world.collections))
        )

    def DropCollection(
        self, request: collections_pb2.DropCollectionRequest, context: Any
    ) -> collections_pb2.DropCollectionResponse:
        self._world.enter("DropCollection", context)
        documents = len(self._world.collection(request.name, context).documents)
        del self._world.collections[request.name]
        return collections_pb2.DropCollectionResponse(documents=documents)


class DocumentService(documents_pb2_grpc.DocumentServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def Upsert(self, request: documents_pb2.UpsertRequest, context: Any) -> documents_pb2.UpsertResponse:
        self._world.enter("Upsert", context)
        collection = self._world.collection(request.collection, context)
        refusal = self._world.refusal(request.documents)
        if refusal is not None:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, refusal.message, refusal.reason, field=refusal.field)
        results = [self._world.write(collection, document) for document in request.documents]
        return documents_pb2.UpsertResponse(results=results, token="1.7")

    def UpsertStream(
        self, request_iterator: Iterator[documents_pb2.UpsertStreamRequest], context: Any
    ) -> Iterator[documents_pb2.UpsertStreamResponse]:
        world = self._world
        world.enter("UpsertStream", context)
        seen: list[int] = []
        with world.lock:
            world.batches.append(seen)
            answers = world.break_after.pop(0) if world.break_after else -1
        # Read ahead, as a gateway does: replies that the test holds back must not hold back the reading.
        arrived: list[documents_pb2.UpsertStreamRequest | None] = []
        more = threading.Condition()

        def read() -> None:
            try:
                for request in request_iterator:
                    seen.append(request.sequence)
                    with more:
                        arrived.append(request)
                        more.notify()
            except grpc.RpcError:
                pass
            with more:
                arrived.append(None)
                more.notify()

        threading.Thread(target=read, daemon=True).start()
        while True:
            with more:
                more.wait_for(lambda: arrived)
                request = arrived.pop(0)
            if request is None:
                return
            if answers == 0:
                refuse(context, grpc.StatusCode.UNAVAILABLE, "stream broken by the test")
            while not world.batch_replies.acquire(timeout=0.05):
                if not context.is_active():
                    return
            collection = world.collection(request.collection, context)
            if world.batch_errors:
                yield documents_pb2.UpsertStreamResponse(sequence=request.sequence, error=world.batch_errors.pop(0))
                continue
            refusal = world.refusal(request.documents)
            if refusal is not None:
                yield documents_pb2.UpsertStreamResponse(sequence=request.sequence, error=refusal)
                continue
            results = [world.write(collection, document) for document in request.documents]
            collection.remember(request)
            yield documents_pb2.UpsertStreamResponse(
                sequence=request.sequence, results=results, token=f"1:{request.sequence}"
            )
            answers -= 1

    def Delete(self, request: documents_pb2.DeleteRequest, context: Any) -> documents_pb2.DeleteResponse:
        self._world.enter("Delete", context)
        collection = self._world.collection(request.collection, context)
        gone = [(id, collection.remove(id, request.source)) for id in request.ids]
        results = [
            documents_pb2.WriteResult(id=id, version=stored.version + 1 if stored else 0, changed=stored is not None)
            for id, stored in gone
        ]
        return documents_pb2.DeleteResponse(results=results, token="1.8")

    def Get(self, request: documents_pb2.GetRequest, context: Any) -> documents_pb2.GetResponse:
        self._world.enter("Get", context)
        collection = self._world.collection(request.collection, context)
        found = [(id, collection.documents[id]) for id in request.ids if id in collection.documents]
        return documents_pb2.GetResponse(
            documents=[
                documents_pb2.StoredDocument(
                    id=id, text=s.text, payload=s.payload, version=s.version, changed_at_ms=CREATED_AT_MS, searchable=True
                )
                for id, s in found
            ]
        )

    def ListSourceIds(
        self, request: documents_pb2.ListSourceIdsRequest, context: Any
    ) -> documents_pb2.ListSourceIdsResponse:
        self._world.enter("ListSourceIds", context)
        collection = self._world.collection(request.collection, context)
        return documents_pb2.ListSourceIdsResponse(ids=collection.source_ids(request))

    def Explain(self, request: documents_pb2.ExplainRequest, context: Any) -> documents_pb2.ExplainResponse:
        self._world.enter("Explain", context)
        stored = self._world.collection(request.collection, context).documents.get(request.id)
        if stored is None:
            reason = errors_pb2.ERROR_REASON_DOCUMENT_NOT_FOUND
            refuse(context, grpc.StatusCode.NOT_FOUND, f"no document {request.id!r}", reason, field="id", value=request.id)
        state = documents_pb2.GenerationState(
            generation=1,
            active=True,
            embedded_version=stored.version,
            attempts=2,
            last_error="encoder was busy",
        )
        explanation = documents_pb2.Explanation(
            id=request.id, version=stored.version, wanted_version=stored.version, generations=[state]
        )
        return documents_pb2.ExplainResponse(explanation=explanation)

    def ListFailed(self, request: documents_pb2.ListFailedRequest, context: Any) -> documents_pb2.ListFailedResponse:
        self._world.enter("ListFailed", context)
        failed = self._world.collection(request.collection, context).failed
        return documents_pb2.ListFailedResponse(documents=failed[: request.limit or 100], total=len(failed))

    def Wait(self, request: documents_pb2.WaitRequest, context: Any) -> documents_pb2.WaitResponse:
        return self._world.wait(request, context)

    def RetryFailed(self, request: documents_pb2.RetryFailedRequest, context: Any) -> documents_pb2.RetryFailedResponse:
        self._world.enter("RetryFailed", context)
        collection = self._world.collection(request.collection, context)
        kept = [document for document in collection.failed if request.ids and document.id not in request.ids]
        retried, collection.failed = len(collection.failed) - len(kept), kept
        return documents_pb2.RetryFailedResponse(retried=retried)


class SearchService(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world
        self.requests: list[search_pb2.SearchRequest] = []

    def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:
        """Scores by the share of a document's words that the query has."""
        self._world.enter("Search", context)
        self.requests.append(request)
        collection = self._world.collection(request.collection, context)
        if request.WhichOneof("query") == "vector" and len(request.vector) != 4 * collection.settings.dimension:
            message = f"query has {len(request.vector) // 4} numbers, the collection {collection.settings.dimension}"
            reason = errors_pb2.ERROR_REASON_DIMENSION_MISMATCH
            limit = collection.settings.dimension
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, message, reason, field="vector", limit=limit)
        sought = request.text
        if request.HasField("like"):
            if request.like not in collection.documents:
                reason = errors_pb2.ERROR_REASON_DOCUMENT_NOT_FOUND
                refuse(context, grpc.StatusCode.NOT_FOUND, f"no document {request.like!r}", reason, field="like")
            sought = collection.documents[request.like].text
        wanted = set(WORDS.findall(sought.lower()))
        # Other threads upload meanwhile, and a dictionary must not grow during iteration.
        documents = [(id, stored) for id, stored in list(collection.documents.items()) if id != request.like]
        scored = sorted(
            (-sum(stored.words[word] for word in wanted) / (1 + stored.words.total()), id) for id, stored in documents
        )
        hits = [
            search_pb2.Hit(
                id=id,
                score=-score,
                version=collection.documents[id].version,
                payload=collection.documents[id].payload,
                text=collection.documents[id].text[: request.text_characters or None] if request.include_text else "",
            )
            for score, id in scored[: request.k]
        ]
        known = len(collection.documents)
        coverage = search_pb2.Coverage(known=known, reachable=known, generation=1, shards=1, shards_reached=1)
        return search_pb2.SearchResponse(
            hits=hits, coverage=coverage, timings=search_pb2.SearchTimings(total_us=1500, encode_us=1000, shards_us=250)
        )


class EmbeddingService(embedding_pb2_grpc.EmbeddingServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world
        self.requests: list[embedding_pb2.EmbedRequest] = []

    def Embed(self, request: embedding_pb2.EmbedRequest, context: Any) -> embedding_pb2.EmbedResponse:
        self._world.enter("Embed", context)
        self.requests.append(request)
        return self._embedded(request)

    def EmbedStream(
        self, request_iterator: Iterator[embedding_pb2.EmbedStreamRequest], context: Any
    ) -> Iterator[embedding_pb2.EmbedStreamResponse]:
        world = self._world
        world.enter("EmbedStream", context)
        seen: list[int] = []
        with world.lock:
            world.batches.append(seen)
            answers = world.break_after.pop(0) if world.break_after else -1
        held: list[embedding_pb2.EmbedStreamRequest] = []

        def answer(request: embedding_pb2.EmbedStreamRequest) -> embedding_pb2.EmbedStreamResponse:
            while not world.batch_replies.acquire(timeout=0.05):
                if not context.is_active():
                    break
            if world.batch_errors:
                return embedding_pb2.EmbedStreamResponse(id=request.id, error=world.batch_errors.pop(0))
            return embedding_pb2.EmbedStreamResponse(id=request.id, embed=self._embedded(request.embed))

        def pairs() -> Iterator[embedding_pb2.EmbedStreamRequest]:
            for request in request_iterator:
                seen.append(request.id)
                self.requests.append(request.embed)
                if not world.in_pairs:
                    yield request
                    continue
                held.append(request)
                if len(held) == 2:
                    yield held.pop()
                    yield held.pop()

        for request in pairs():
            if answers == 0:
                refuse(context, grpc.StatusCode.UNAVAILABLE, "stream broken by the test")
            answers -= 1
            yield answer(request)

    def _embedded(self, request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
        """Each row is the text's length, the role and a constant; an empty text has no vector, one above 99 is cut."""
        half = request.vector_type == embedding_pb2.VECTOR_TYPE_FLOAT16
        rows = [[len(text), request.role, 0.5] if text else [0, 0, 0] for text in request.texts]
        vectors = np.array(rows, dtype="<f2" if half else "<f4").reshape(-1, 3)
        response = embedding_pb2.EmbedResponse(
            fingerprint="f" * 8,
            dimension=3,
            vectors=vectors.tobytes(),
            vector_type=request.vector_type,
            tokens=[min(len(text), 99) for text in request.texts],
            truncated=[position for position, text in enumerate(request.texts) if len(text) > 99],
            timing=embedding_pb2.EmbedTiming(total_us=4000, tokenize_us=500, queue_us=1000, infer_us=2000),
        )
        for position, text in enumerate(request.texts):
            if not text:
                message = f"texts[{position}]: text is empty"
                response.errors.add(position=position).error.CopyFrom(
                    errors_pb2.ErrorDetail(reason=errors_pb2.ERROR_REASON_INVALID_ARGUMENT, message=message)
                )
        return response


class StatusService(status_pb2_grpc.StatusServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    def Describe(self, request: object, context: Any) -> status_pb2.DescribeResponse:
        self._world.enter("Describe", context)
        return status_pb2.DescribeResponse(
            version="0.1.0", api="shoal.v1", python="3.11", ray="2.60.0", limits=self._world.limits
        )

    def Status(self, request: object, context: Any) -> status_pb2.StatusResponse:
        self._world.enter("Status", context)
        ready = status_pb2.Process(
            kind=status_pb2.PROCESS_KIND_ENCODER,
            name="encoder-1",
            address="127.0.0.1:2",
            state=status_pb2.PROCESS_STATE_READY,
            pid=7,
            model="hashing",
            device="cpu float32",
            load=status_pb2.EncoderLoad(waiting_texts=12, oldest_ms=1500, texts_per_s=250, busy=0.5),
            restarts=2,
        )
        loading = status_pb2.Process(
            kind=status_pb2.PROCESS_KIND_ENCODER,
            name="encoder-2",
            state=status_pb2.PROCESS_STATE_LOADING,
            detail="reading weights",
        )
        return status_pb2.StatusResponse(
            collections=map(self._world.describe, sorted(self._world.collections)),
            processes=[ready, loading],
            pools=[status_pb2.Pool(model="hashing", min_replicas=1, max_replicas=4, wanted=2, ready=1)],
            coordinator_epoch=3,
            version="0.1.0",
            problems=self._world.problems,
            query_cache=status_pb2.QueryCache(hits=70, misses=30, joined=5, entries=20, bytes=3 << 20, limit_bytes=64 << 20),
        )


class FakeGateway:
    """The server; tests observe and control it through `world`."""

    def __init__(self, port: int = 0) -> None:
        self.world = World()
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self.world.limits.message_bytes)]
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
        self.search = SearchService(self.world)
        collections_pb2_grpc.add_CollectionServiceServicer_to_server(CollectionService(self.world), self._server)
        documents_pb2_grpc.add_DocumentServiceServicer_to_server(DocumentService(self.world), self._server)
        search_pb2_grpc.add_SearchServiceServicer_to_server(self.search, self._server)
        self.embedding = EmbeddingService(self.world)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(self.embedding, self._server)
        status_pb2_grpc.add_StatusServiceServicer_to_server(StatusService(self.world), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> FakeGateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fail(self, method: str, code: grpc.StatusCode, **fault: Any) -> None:
        """Makes the next call, or calls, of a method fail."""
        self.world.faults.setdefault(method, []).append(Fault(code, **fault))

    def stop(self) -> None:
        self._server.stop(0.2).wait()


def main() -> None:
    """Serves until SIGTERM, as `shoal serve` does: a line of JSON when it is ready."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with FakeGateway() as gateway:
        print(json.dumps({"event": "ready", "address": gateway.address, "data": "/nowhere"}), flush=True)
        print("serving, says the log", file=sys.stderr)
        ended.wait()
