"""Converts protobuf replies to the client's own types. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shoal.client import embeddings, keys, processes, types
from shoal.client.errors import InternalError, error_from_detail
from shoal.v1 import collections_pb2, documents_pb2, embedding_pb2, keys_pb2, permissions_pb2, search_pb2, status_pb2


@dataclass(frozen=True, slots=True)
class WaitState:
    """What a server says about the writes of a token."""

    pending: int = 0
    """0 when searches show them, apart from documents that cannot be embedded."""
    failed: tuple[types.FailedDocument, ...] = ()
    failed_total: int = 0


INDEX_KINDS: dict[types.IndexKind, collections_pb2.IndexKind.ValueType] = {
    "flat": collections_pb2.INDEX_KIND_FLAT,
    "hnsw": collections_pb2.INDEX_KIND_HNSW,
    "ivf": collections_pb2.INDEX_KIND_IVF,
}
METRICS: dict[types.Metric, collections_pb2.Metric.ValueType] = {
    "cosine": collections_pb2.METRIC_COSINE,
    "dot": collections_pb2.METRIC_DOT,
    "l2": collections_pb2.METRIC_L2,
}
EMPTY_TEXTS: dict[types.EmptyText, collections_pb2.EmptyText.ValueType] = {
    "reject": collections_pb2.EMPTY_TEXT_REJECT,
    "store": collections_pb2.EMPTY_TEXT_STORE,
}
ROLES: dict[types.Role, embedding_pb2.Role.ValueType] = {
    "document": embedding_pb2.ROLE_DOCUMENT,
    "query": embedding_pb2.ROLE_QUERY,
}
TRUNCATIONS: dict[embeddings.Truncation, embedding_pb2.Truncation.ValueType] = {
    "end": embedding_pb2.TRUNCATION_END,
    "start": embedding_pb2.TRUNCATION_START,
    "refuse": embedding_pb2.TRUNCATION_REFUSE,
}
VECTOR_TYPES: dict[embeddings.VectorType, embedding_pb2.VectorType.ValueType] = {
    "float32": embedding_pb2.VECTOR_TYPE_FLOAT32,
    "float16": embedding_pb2.VECTOR_TYPE_FLOAT16,
}
_PROCESS_KINDS: dict[status_pb2.ProcessKind.ValueType, processes.ProcessKind] = {
    status_pb2.PROCESS_KIND_COORDINATOR: processes.ProcessKind.COORDINATOR,
    status_pb2.PROCESS_KIND_GATEWAY: processes.ProcessKind.GATEWAY,
    status_pb2.PROCESS_KIND_ENCODER: processes.ProcessKind.ENCODER,
    status_pb2.PROCESS_KIND_INDEX: processes.ProcessKind.INDEX,
}
_PROCESS_STATES: dict[status_pb2.ProcessState.ValueType, processes.ProcessState] = {
    status_pb2.PROCESS_STATE_WAITING: processes.ProcessState.WAITING,
    status_pb2.PROCESS_STATE_STARTING: processes.ProcessState.STARTING,
    status_pb2.PROCESS_STATE_LOADING: processes.ProcessState.LOADING,
    status_pb2.PROCESS_STATE_READY: processes.ProcessState.READY,
    status_pb2.PROCESS_STATE_DRAINING: processes.ProcessState.DRAINING,
    status_pb2.PROCESS_STATE_UNREACHABLE: processes.ProcessState.UNREACHABLE,
    status_pb2.PROCESS_STATE_FAILED: processes.ProcessState.FAILED,
}
_INDEX_NAMES = {value: name for name, value in INDEX_KINDS.items()}
_METRIC_NAMES = {value: name for name, value in METRICS.items()}
_EMPTY_TEXT_NAMES = {value: name for name, value in EMPTY_TEXTS.items()}


def read_collection(reply: collections_pb2.Collection) -> types.CollectionInfo:
    """A collection's settings and state."""
    settings = reply.settings
    return types.CollectionInfo(
        name=reply.name,
        model=settings.model,
        dimension=settings.dimension,
        # Kinds of a newer server have no name here; their numbers are shown.
        index=_INDEX_NAMES.get(settings.index, str(settings.index)),
        metric=_METRIC_NAMES.get(settings.metric, str(settings.metric)),
        empty_text=_EMPTY_TEXT_NAMES.get(settings.empty_text, str(settings.empty_text)),
        generation=reply.generation,
        fingerprint=reply.fingerprint,
        documents=reply.documents,
        pending=reply.pending,
        failed=reply.failed,
        lag_s=reply.lag_ms / 1000,
        created_at=_time(reply.created_at_ms),
        problem=reply.problem,
        shards=tuple(
            types.ShardInfo(
                number=shard.number,
                worker=shard.worker,
                address=shard.address,
                ready=shard.ready,
                documents=shard.documents,
                sealed_rows=shard.sealed_rows,
                delta_rows=shard.delta_rows,
                segments=shard.segments,
            )
            for shard in reply.shards
        ),
    )


def read_results(results: Iterable[documents_pb2.WriteResult]) -> tuple[types.WriteResult, ...]:
    """The result of each document of a write."""
    return tuple(
        types.WriteResult(
            id=result.id,
            version=result.version,
            changed=result.changed,
            error=error_from_detail(result.error) if result.HasField("error") else None,
        )
        for result in results
    )


def read_write(reply: documents_pb2.UpsertResponse | documents_pb2.DeleteResponse) -> types.Token:
    """The token of a write; if documents were refused, raises the error of the first, with the token."""
    token = types.Token(reply.token, read_results(reply.results))
    refusals = [result.error for result in token.results if result.error is not None]
    if refusals:
        refusals[0].token = token
        raise refusals[0]
    return token


def read_stored(reply: documents_pb2.GetResponse) -> list[types.StoredDocument]:
    """The documents that exist."""
    return [
        types.StoredDocument(
            id=document.id,
            text=document.text,
            payload=_payload(document.payload),
            version=document.version,
            changed_at=_time(document.changed_at_ms),
            searchable=document.searchable,
        )
        for document in reply.documents
    ]


def read_explanation(reply: documents_pb2.ExplainResponse) -> types.Explanation:
    """The state of a document in each generation."""
    explanation = reply.explanation
    return types.Explanation(
        id=explanation.id,
        version=explanation.version,
        wanted_version=explanation.wanted_version,
        deleted=explanation.deleted,
        generations=tuple(
            types.GenerationState(
                generation=state.generation,
                active=state.active,
                fingerprint=state.fingerprint,
                shard=state.shard,
                embedded_version=state.embedded_version or None,
                truncated=state.truncated,
                served_version=state.served_version or None,
                worker_reached=state.HasField("served_version"),
                worker=state.worker,
                attempts=state.attempts,
                last_error=state.last_error,
                next_attempt_at=_time(state.next_attempt_at_ms) if state.next_attempt_at_ms else None,
                failed=state.failed,
                problem=state.problem,
            )
            for state in explanation.generations
        ),
    )


def read_failed(documents: Iterable[documents_pb2.FailedDocument]) -> list[types.FailedDocument]:
    """Documents that could not be embedded."""
    return [
        types.FailedDocument(
            id=document.id,
            version=document.version,
            reason=document.reason,
            attempts=document.attempts,
            failed_at=_time(document.failed_at_ms),
        )
        for document in documents
    ]


def read_wait(reply: documents_pb2.WaitResponse) -> WaitState:
    """Whether searches show some writes."""
    return WaitState(reply.pending, tuple(read_failed(reply.failed)), reply.failed_total)


def read_search(reply: search_pb2.SearchResponse) -> types.SearchResult:
    """Hits in the server's order, with coverage and timings."""
    coverage, timings = reply.coverage, reply.timings
    return types.SearchResult(
        hits=tuple(
            types.Hit(
                id=hit.id,
                score=hit.score,
                version=hit.version,
                payload=_payload(hit.payload),
                text=hit.text,
                truncated=hit.truncated,
            )
            for hit in reply.hits
        ),
        coverage=types.Coverage(
            known=coverage.known,
            reachable=coverage.reachable,
            pending=coverage.pending,
            lag_s=coverage.lag_ms / 1000,
            failed=coverage.failed,
            generation=coverage.generation,
            shards=coverage.shards,
            shards_reached=coverage.shards_reached,
        ),
        timings=types.Timings(timings.total_us / 1e6, timings.encode_us / 1e6, timings.shards_us / 1e6),
    )


def read_embeddings(reply: embedding_pb2.EmbedResponse, texts: int) -> embeddings.Embeddings:
    """Vectors of shape (texts, dimension); raises InternalError if the reply has another number of texts."""
    import numpy as np

    # A server that does not know float16 answers in float32, and says so.
    half = reply.vector_type == embedding_pb2.VECTOR_TYPE_FLOAT16
    size = texts * reply.dimension * (2 if half else 4)
    if len(reply.vectors) != size or len(reply.tokens) != texts:
        raise InternalError(
            f"the server sent {len(reply.vectors)} bytes and {len(reply.tokens)} token counts "
            f"for {texts} vectors of {reply.dimension} numbers, not {size} bytes",
            field="vectors",
        )
    # Copied: an array over the reply's bytes could not be written to, and would keep the whole message alive.
    vectors = np.frombuffer(reply.vectors, dtype="<f2" if half else "<f4").reshape(texts, reply.dimension)
    timing = reply.timing
    return embeddings.Embeddings(
        vectors=vectors.astype(np.float16 if half else np.float32),
        tokens=np.array(reply.tokens, dtype=np.int32),
        truncated=tuple(reply.truncated),
        errors={one.position: error_from_detail(one.error) for one in reply.errors},
        fingerprint=reply.fingerprint,
        timing=embeddings.EmbedTiming(
            timing.total_us / 1e6, timing.tokenize_us / 1e6, timing.queue_us / 1e6, timing.infer_us / 1e6
        ),
    )


def read_server(reply: status_pb2.DescribeResponse) -> types.ServerInfo:
    """The server's version and its limits on input."""
    limits = reply.limits
    return types.ServerInfo(
        version=reply.version,
        api=reply.api,
        python=reply.python,
        ray=reply.ray,
        limits=types.Limits(
            message_bytes=limits.message_bytes,
            documents_per_write=limits.documents_per_write,
            id_bytes=limits.id_bytes,
            text_bytes=limits.text_bytes,
            payload_bytes=limits.payload_bytes,
            dimension=limits.dimension,
            k=limits.k,
            shards=limits.shards,
            collection_name_bytes=limits.collection_name_bytes,
            texts_per_embed=limits.texts_per_embed,
            ids_per_get=limits.ids_per_get,
            failed_per_list=limits.failed_per_list,
            prompt_characters=limits.prompt_characters,
        ),
    )


def read_key(key: keys_pb2.ApiKey) -> keys.ApiKeyInfo:
    """An API key without its secret."""
    return keys.ApiKeyInfo(
        id=key.id,
        name=key.name,
        role=keys.AccessRole(permissions_pb2.AccessRole.Name(key.role).removeprefix("ACCESS_ROLE_").lower()),
        collections=tuple(key.collections),
        created_at_ms=key.created_at_ms,
        expires_at_ms=key.expires_at_ms if key.HasField("expires_at_ms") else None,
        revoked_at_ms=key.revoked_at_ms if key.HasField("revoked_at_ms") else None,
        valid=key.valid,
    )


def read_new_key(reply: keys_pb2.CreateKeyResponse) -> keys.NewApiKey:
    """A key that was just created, with its text."""
    return keys.NewApiKey(read_key(reply.key), reply.text)


def read_status(reply: status_pb2.StatusResponse) -> types.ClusterStatus:
    """The state of the cluster."""
    return types.ClusterStatus(
        collections=tuple(read_collection(collection) for collection in reply.collections),
        processes=tuple(_process(process) for process in reply.processes),
        coordinator_epoch=reply.coordinator_epoch,
        version=reply.version,
        query_cache=types.QueryCacheInfo(
            hits=reply.query_cache.hits,
            misses=reply.query_cache.misses,
            joined=reply.query_cache.joined,
            entries=reply.query_cache.entries,
            bytes=reply.query_cache.bytes,
            limit_bytes=reply.query_cache.limit_bytes,
        ),
        problems=tuple(types.ProblemInfo(one.part, one.message, _time(one.since_ms)) for one in reply.problems),
        pools=tuple(
            types.PoolInfo(pool.model, pool.min_replicas, pool.max_replicas, pool.wanted, pool.ready, pool.problem)
            for pool in reply.pools
        ),
    )


def _process(process: status_pb2.Process) -> processes.ProcessInfo:
    return processes.ProcessInfo(
        kind=_PROCESS_KINDS.get(process.kind, processes.ProcessKind.UNKNOWN),
        name=process.name,
        address=process.address,
        state=_PROCESS_STATES.get(process.state, processes.ProcessState.UNKNOWN),
        detail=process.detail,
        pid=process.pid,
        node=process.node,
        model=process.model,
        device=process.device,
        load=_load(process.load) if process.HasField("load") else None,
        restarts=process.restarts,
    )


def _load(load: status_pb2.EncoderLoad) -> processes.LoadInfo:
    return processes.LoadInfo(
        waiting_texts=load.waiting_texts,
        waiting_tokens=load.waiting_tokens,
        oldest_s=load.oldest_ms / 1000,
        texts_per_s=load.texts_per_s,
        tokens_per_s=load.tokens_per_s,
        busy=load.busy,
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _payload(text: str) -> Mapping[str, Any]:
    return json.loads(text) if text else {}
