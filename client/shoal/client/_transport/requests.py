"""Builds each call: its request, the method that takes it, and the function that reads its reply. Does no I/O.

Only what cannot be encoded is refused here; the server checks limits.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shoal.client import embeddings, keys, types
from shoal.client._transport import replies as _replies
from shoal.client._transport.channel import Stubs
from shoal.client._transport.tokens import merged_all
from shoal.client.errors import InvalidArgument
from shoal.v1 import collections_pb2, documents_pb2, embedding_pb2, keys_pb2, permissions_pb2, search_pb2, status_pb2

T = TypeVar("T")
_NAMED = TypeVar("_NAMED")
_INT32 = range(-(2**31), 2**31)
_COUNT = range(2**31)
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One unary call: the method, its request, and the function that reads its reply."""

    method: Callable[[Stubs], Any]
    request: Any
    read: Callable[[Any], T]
    repeatable: bool = True
    """False if a second attempt could return a wrong answer."""


def create_collection(
    name: str,
    model: str,
    dimension: int,
    index: types.IndexKind | None,
    metric: types.Metric,
    shards: int,
    empty_text: types.EmptyText,
) -> Call[types.CollectionInfo]:
    """The call that creates a collection."""
    settings = collections_pb2.CollectionSettings(
        model=_string("model", model),
        dimension=_integer("dimension", dimension, _INT32),
        index=collections_pb2.INDEX_KIND_UNSPECIFIED if index is None else _one_of("index", index, _replies.INDEX_KINDS),
        metric=_one_of("metric", metric, _replies.METRICS),
        shards=_integer("shards", shards, _INT32),
        empty_text=_one_of("empty_text", empty_text, _replies.EMPTY_TEXTS),
    )
    request = collections_pb2.CreateCollectionRequest(name=_string("name", name), settings=settings)
    return Call(
        lambda stubs: stubs.collections.CreateCollection, request, lambda reply: _replies.read_collection(reply.collection)
    )


def get_collection(name: str) -> Call[types.CollectionInfo]:
    """The call that describes a collection."""
    request = collections_pb2.GetCollectionRequest(name=_string("name", name))
    return Call(
        lambda stubs: stubs.collections.GetCollection, request, lambda reply: _replies.read_collection(reply.collection)
    )


def list_collections() -> Call[list[types.CollectionInfo]]:
    """The call that lists all collections."""
    return Call(
        lambda stubs: stubs.collections.ListCollections,
        collections_pb2.ListCollectionsRequest(),
        lambda reply: [_replies.read_collection(collection) for collection in reply.collections],
    )


def drop_collection(name: str) -> Call[int]:
    """The call that drops a collection."""
    request = collections_pb2.DropCollectionRequest(name=_string("name", name))
    return Call(lambda stubs: stubs.collections.DropCollection, request, lambda reply: reply.documents)


def encode_document(document: types.Document, field: str) -> documents_pb2.Document:
    """The message of a document; raises InvalidArgument, naming `field`, for what cannot be encoded."""
    if not isinstance(document, types.Document):
        raise InvalidArgument(f"{field} must be a Document, not {type(document).__name__}", field=field)
    wire = documents_pb2.Document(
        id=_string(f"{field}.id", document.id),
        text=_string(f"{field}.text", document.text),
        payload=_json_object(f"{field}.payload", document.payload),
    )
    if document.vector is not None:
        wire.vector = _packed(f"{field}.vector", document.vector)
    if document.embedding is not None:
        embedding = document.embedding
        if not isinstance(embedding, types.Embedding):
            raise InvalidArgument(f"{field}.embedding must be an Embedding, not {type(embedding).__name__}", field=field)
        wire.embedding.vector = _packed(f"{field}.embedding.vector", embedding.vector)
        wire.embedding.fingerprint = _string(f"{field}.embedding.fingerprint", embedding.fingerprint)
        wire.embedding.content_hash = bytes(embedding.content_hash)
        wire.embedding.truncated = bool(embedding.truncated)
    if document.expected_version is not None:
        wire.expected_version = _integer(f"{field}.expected_version", document.expected_version, _INT64)
    return wire


def upsert(collection: str, documents: Iterable[types.Document], wait: bool) -> Call[types.Token]:
    """The call that writes documents."""
    if isinstance(documents, types.Document | str | Mapping):
        raise InvalidArgument(f"documents must be a list of Document, not {type(documents).__name__}", field="documents")
    request = documents_pb2.UpsertRequest(
        collection=_string("collection", collection),
        documents=[encode_document(document, f"documents[{index}]") for index, document in enumerate(documents)],
        wait=wait,
    )
    # If the answer of a committed first attempt is lost, a second attempt would fail with a false conflict.
    conditional = any(document.HasField("expected_version") for document in request.documents)
    return Call(lambda stubs: stubs.documents.Upsert, request, _replies.read_write, repeatable=not conditional)


def delete(collection: str, ids: Sequence[str], wait: bool, source: str = "") -> Call[types.Token]:
    """The call that deletes documents."""
    request = documents_pb2.DeleteRequest(
        collection=_string("collection", collection), ids=_ids(ids), wait=wait, source=_string("source", source)
    )
    return Call(lambda stubs: stubs.documents.Delete, request, _replies.read_write)


def source_ids(collection: str, source: str, after: str, limit: int) -> Call[list[str]]:
    """The call that lists the documents of a source."""
    request = documents_pb2.ListSourceIdsRequest(
        collection=_string("collection", collection),
        source=_string("source", source),
        after=_string("after", after),
        limit=_integer("limit", limit, _INT32),
    )
    return Call(lambda stubs: stubs.documents.ListSourceIds, request, lambda reply: list(reply.ids))


def wait(collection: str, token: str, longest_s: float) -> Call[_replies.WaitState]:
    """The call that waits, at most `longest_s`, until searches show the writes of a token."""
    request = documents_pb2.WaitRequest(
        collection=_string("collection", collection), token=_string("token", token), longest_ms=max(1, int(longest_s * 1000))
    )
    return Call(lambda stubs: stubs.documents.Wait, request, _replies.read_wait)


def get(collection: str, ids: Sequence[str]) -> Call[list[types.StoredDocument]]:
    """The call that reads documents."""
    request = documents_pb2.GetRequest(collection=_string("collection", collection), ids=_ids(ids))
    return Call(lambda stubs: stubs.documents.Get, request, _replies.read_stored)


def explain(collection: str, id: str) -> Call[types.Explanation]:
    """The call that explains the state of a document."""
    request = documents_pb2.ExplainRequest(collection=_string("collection", collection), id=_string("id", id))
    return Call(lambda stubs: stubs.documents.Explain, request, _replies.read_explanation)


def failed(collection: str, limit: int) -> Call[list[types.FailedDocument]]:
    """The call that lists failed documents."""
    request = documents_pb2.ListFailedRequest(
        collection=_string("collection", collection), limit=_integer("limit", limit, _INT32)
    )
    return Call(lambda stubs: stubs.documents.ListFailed, request, lambda reply: _replies.read_failed(reply.documents))


def retry_failed(collection: str, ids: Sequence[str]) -> Call[int]:
    """The call that retries failed documents."""
    request = documents_pb2.RetryFailedRequest(collection=_string("collection", collection), ids=_ids(ids))
    return Call(lambda stubs: stubs.documents.RetryFailed, request, lambda reply: reply.retried)


def _token(given: str | Sequence[str] | None) -> str:
    if given is None or isinstance(given, str):
        return "" if given is None else _string("token", given)
    try:
        return merged_all(_string(f"token[{index}]", token) for index, token in enumerate(given))
    except ValueError as error:
        raise InvalidArgument(str(error), field="token") from None


def search(
    collection: str,
    query: str | types.Vector | None,
    k: int,
    token: str | Sequence[str] | None,
    include_text: bool,
    min_coverage: float | None,
    like: str | None = None,
    text_characters: int = 0,
) -> Call[types.SearchResult]:
    """The call that searches for a text, a vector, or what is like a document."""
    if (query is None) == (like is None):
        raise InvalidArgument("search takes either a query or the id of a document to be like", field="query")
    request = search_pb2.SearchRequest(
        collection=_string("collection", collection),
        k=_integer("k", k, _INT32),
        token=_token(token),
        include_text=include_text,
        text_characters=_integer("text_characters", text_characters, _COUNT),
    )
    if like is not None:
        request.like = _string("like", like)
    elif isinstance(query, str):
        request.text = _string("query", query)
    else:
        request.vector = _packed("query", query)
    if min_coverage is not None:
        try:
            request.min_coverage = min_coverage
        except TypeError:
            raise InvalidArgument(f"min_coverage must be a number, not {min_coverage!r}", field="min_coverage") from None
    return Call(lambda stubs: stubs.search.Search, request, _replies.read_search)


def embed_template(
    model: str,
    role: types.Role,
    prompt: str | None,
    dimensions: int,
    normalize: bool | None,
    truncation: embeddings.Truncation,
    vector_type: embeddings.VectorType,
) -> embedding_pb2.EmbedRequest:
    """A request for vectors, without its texts."""
    request = embedding_pb2.EmbedRequest(
        model=_string("model", model),
        role=_one_of("role", role, _replies.ROLES),
        dimensions=_integer("dimensions", dimensions, _INT32),
        truncation=_one_of("truncation", truncation, _replies.TRUNCATIONS),
        vector_type=_one_of("vector_type", vector_type, _replies.VECTOR_TYPES),
    )
    if prompt is not None:
        request.prompt = _string("prompt", prompt)
    if normalize is not None:
        if not isinstance(normalize, bool):
            raise InvalidArgument(f"normalize must be a bool or None, not {normalize!r}", field="normalize")
        request.normalize = normalize
    return request


def embed(request: embedding_pb2.EmbedRequest, texts: Sequence[str]) -> Call[embeddings.Embeddings]:
    """The call that embeds texts, which are added to `request`."""
    if isinstance(texts, str):
        raise InvalidArgument("texts must be a list of str, not one str", field="texts", value=texts[:40])
    request.texts.extend([_string(f"texts[{index}]", text) for index, text in enumerate(texts)])
    count = len(request.texts)
    return Call(lambda stubs: stubs.embedding.Embed, request, lambda reply: _replies.read_embeddings(reply, count))


def create_key(
    name: str, role: keys.AccessRole | str, collections: Sequence[str], lifetime_s: float | None
) -> Call[keys.NewApiKey]:
    """The call that creates an API key. It is not repeated: the first attempt may have created one."""
    if isinstance(collections, str):
        raise InvalidArgument("collections must be a list of str, not one str", field="collections", value=collections[:40])
    try:
        wanted = keys.AccessRole(role)
    except ValueError:
        allowed = ", ".join(keys.AccessRole)
        raise InvalidArgument(f"role {role!r} is not one of {allowed}", field="role", value=str(role)) from None
    request = keys_pb2.CreateKeyRequest(
        name=_string("name", name),
        role=permissions_pb2.AccessRole.Value(f"ACCESS_ROLE_{wanted.name}"),
        collections=[_string(f"collections[{index}]", pattern) for index, pattern in enumerate(collections)],
        lifetime_ms=None if lifetime_s is None else round(lifetime_s * 1000),
    )
    return Call(lambda stubs: stubs.keys.CreateKey, request, _replies.read_new_key, repeatable=False)


def list_keys() -> Call[list[keys.ApiKeyInfo]]:
    """The call that lists API keys."""
    return Call(
        lambda stubs: stubs.keys.ListKeys,
        keys_pb2.ListKeysRequest(),
        lambda reply: [_replies.read_key(key) for key in reply.keys],
    )


def revoke_key(id: str) -> Call[keys.ApiKeyInfo]:
    """The call that revokes an API key."""
    request = keys_pb2.RevokeKeyRequest(id=_string("id", id))
    return Call(lambda stubs: stubs.keys.RevokeKey, request, lambda reply: _replies.read_key(reply.key))


def describe() -> Call[types.ServerInfo]:
    """The call that describes the server."""
    return Call(lambda stubs: stubs.status.Describe, status_pb2.DescribeRequest(), _replies.read_server)


def status() -> Call[types.ClusterStatus]:
    """The call that reads the state of the cluster."""
    return Call(lambda stubs: stubs.status.Status, status_pb2.StatusRequest(), _replies.read_status)


def text_of(field: str, value: object) -> tuple[str, int]:
    """A text that can be sent, and its size in UTF-8 bytes; raises InvalidArgument, naming `field`, for anything else."""
    text = _string(field, value)
    return text, len(text) if text.isascii() else len(text.encode())


def _string(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{field} must be a str, not {type(value).__name__}", field=field, value=repr(value)[:40])
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{field} is not valid Unicode (a lone surrogate at character {error.start})"
        raise InvalidArgument(message, field=field, value=ascii(value)[:40]) from None
    # Protobuf would keep a Token, with its results, as it is.
    return str(value)


def _integer(field: str, value: object, allowed: range) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidArgument(f"{field} must be an int, not {value!r}", field=field, value=repr(value)[:40])
    number = int(value)
    if number not in allowed:
        limit, side = (allowed[-1], "above") if number > 0 else (allowed[0], "below")
        raise InvalidArgument(f"{field} {number} is {side} {limit}", field=field, value=str(number), limit=limit)
    return number


def _one_of(field: str, value: str, allowed: Mapping[Any, _NAMED]) -> _NAMED:
    if value not in allowed:
        raise InvalidArgument(f"{field} must be one of {', '.join(allowed)}, not {value!r}", field=field, value=str(value))
    return allowed[value]


def _ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str):
        raise InvalidArgument("ids must be a list of str, not one str", field="ids", value=ids[:40])
    return [_string(f"ids[{index}]", value) for index, value in enumerate(ids)]


def _json_object(field: str, payload: object) -> str:
    if not isinstance(payload, Mapping):
        raise InvalidArgument(
            f"{field} must be a mapping, not {type(payload).__name__}", field=field, value=repr(payload)[:40]
        )
    if not payload:
        return ""
    try:
        return _string(field, json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{field} is not JSON: {error}", field=field, value=repr(payload)[:40]) from None


def _packed(field: str, vector: object) -> bytes:
    import numpy as np

    try:
        # A number too large for float32 becomes infinite, which the server refuses.
        with np.errstate(over="ignore"):
            array = np.asarray(vector, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{field} is not a vector of numbers: {error}", field=field, value=repr(vector)[:40]) from None
    if array.ndim != 1:
        raise InvalidArgument(
            f"{field} must have one dimension, not {array.ndim}", field=field, value=f"shape {array.shape}"
        )
    return array.tobytes()
