"""Validation of documents, payloads and vectors. Pure; the rules of a collection are passed in as `WriteRules`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from shoal.cluster.decisions.admission import content_hash
from shoal.cluster.errors import DimensionMismatch, InvalidRequest, quoted, shortened
from shoal.cluster.gateway.paths.validation import check_distinct, check_id, check_text, out_of_limit
from shoal.cluster.ledger.records import CollectionRecord
from shoal.cluster.limits import RequestLimits
from shoal.v1 import documents_pb2

# Beyond these bounds the squared norm, and so every score, would be 0 or infinite in float32.
_LEAST_NORM = float(np.sqrt(np.finfo(np.float32).tiny))
_GREATEST_NORM = float(np.sqrt(np.finfo(np.float32).max)) / 2


@dataclass(frozen=True, slots=True)
class WriteRules:
    """What a collection accepts."""

    name: str
    has_model: bool
    dimension: int
    metric: str
    """"cosine", "dot" or "l2"."""
    stores_empty: bool
    """True if documents with neither text nor vector are stored."""
    fingerprint: str = ""
    """The fingerprint of the model; empty without a model."""

    @classmethod
    def of(cls, record: CollectionRecord) -> WriteRules:
        """The rules of a collection."""
        generation = record.generation
        return cls(
            name=record.name,
            has_model=bool(generation.model),
            dimension=generation.dimension,
            metric=generation.metric,
            stores_empty=record.settings.empty_text == "store",
            fingerprint=generation.fingerprint,
        )


def check_documents(documents: Sequence[documents_pb2.Document], rules: WriteRules, limits: RequestLimits) -> list[str]:
    """Checks one batch and returns the canonical payload of each document, in order."""
    if not documents:
        raise InvalidRequest(
            "documents: at least one document is needed", field="documents", limit=limits.documents_per_write
        )
    if len(documents) > limits.documents_per_write:
        raise out_of_limit("documents", len(documents), limits.documents_per_write, "documents")
    payloads = [
        _check_document(document, f"documents[{position}]", rules, limits) for position, document in enumerate(documents)
    ]
    check_distinct([document.id for document in documents], "documents[{}].id")
    return payloads


def _check_document(document: documents_pb2.Document, path: str, rules: WriteRules, limits: RequestLimits) -> str:
    check_id(document.id, limits, f"{path}.id")
    check_text(document.text, limits, f"{path}.text")
    if document.vector:
        check_vector(document.vector, rules, f"{path}.vector")
    elif not document.text.strip():
        if not rules.stores_empty:
            raise InvalidRequest(
                f"{path}.text: document {quoted(document.id)} has neither text nor vector", field=f"{path}.text"
            )
    elif not rules.has_model:
        raise InvalidRequest(
            f"{path}.vector: collection {rules.name!r} has no model, so each document needs a vector",
            field=f"{path}.vector",
        )
    if document.HasField("embedding"):
        _check_embedding(document, f"{path}.embedding", rules)
    if document.HasField("expected_version") and document.expected_version < 0:
        raise InvalidRequest(
            f"{path}.expected_version: {document.expected_version} is below 0",
            field=f"{path}.expected_version",
            value=str(document.expected_version),
        )
    return canonical_payload(document.payload, limits, f"{path}.payload")


def _check_embedding(document: documents_pb2.Document, path: str, rules: WriteRules) -> None:
    """A precomputed embedding must be the output of the collection's model for exactly this text."""
    embedding = document.embedding
    if document.vector or not document.text.strip():
        problem = "both an embedding and a vector" if document.vector else "an embedding but no text"
        raise InvalidRequest(f"{path}: document {quoted(document.id)} has {problem}", field=path)
    if not rules.has_model or embedding.fingerprint != rules.fingerprint:
        raise InvalidRequest(
            f"{path}.fingerprint: {quoted(embedding.fingerprint)}, but collection {rules.name!r} has "
            f"{rules.fingerprint or 'no model'}",
            field=f"{path}.fingerprint",
            value=shortened(embedding.fingerprint),
        )
    check_vector(embedding.vector, rules, f"{path}.vector")
    if not any(embedding.vector):
        raise InvalidRequest(f"{path}.vector: a zero vector, which no model returns", field=f"{path}.vector", value="0")
    if embedding.content_hash != content_hash(document.text, b""):
        raise InvalidRequest(f"{path}.content_hash: does not match the document's text", field=f"{path}.content_hash")


def check_vector(packed: bytes, rules: WriteRules, field: str) -> None:
    """Requires packed little-endian float32 of the collection's dimension: finite, and for cosine not zero."""
    size, dimension = len(packed), rules.dimension
    if size % 4:
        raise InvalidRequest(
            f"{field}: {size} bytes is not a multiple of 4, the size of a float32", field=field, value=str(size)
        )
    if size != 4 * dimension:
        raise DimensionMismatch(
            f"{field}: dimension {size // 4}, but collection {rules.name!r} has dimension {dimension}",
            field=field,
            value=str(size // 4),
            limit=dimension,
        )
    vector = np.frombuffer(packed, dtype="<f4")
    finite = np.isfinite(vector)
    if not finite.all():
        position = int(np.argmin(finite))
        value = f"{float(vector[position]):g}"
        raise InvalidRequest(
            f"{field}[{position}]: {value} is not a finite number", field=f"{field}[{position}]", value=value
        )
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if norm > _GREATEST_NORM:
        raise InvalidRequest(
            f"{field}: a norm of {norm:g} is too large for float32 scores, the limit is {_GREATEST_NORM:g}",
            field=field,
            value=f"{norm:g}",
        )
    if rules.metric == "cosine" and norm < _LEAST_NORM:
        raise InvalidRequest(f"{field}: a zero vector has no cosine similarity", field=field, value=f"{norm:g}")


def canonical_payload(payload: str, limits: RequestLimits, field: str) -> str:
    """A JSON object with sorted keys and no whitespace, so that equal payloads are equal strings; empty means {}."""
    if not payload:
        return "{}"
    size = len(payload.encode())
    if size > limits.payload_bytes:
        raise out_of_limit(field, size, limits.payload_bytes, "bytes")
    value = quoted(payload)
    try:
        parsed = json.loads(payload, parse_constant=_refuse_constant)
        if isinstance(parsed, dict):
            text = json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
            if size > limits.payload_bytes:
                raise out_of_limit(field, size, limits.payload_bytes, "bytes")
            return text
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else shortened(error)
        raise InvalidRequest(f"{field}: not valid JSON: {why}", field=field, value=value) from None
    raise InvalidRequest(f"{field}: {value} is not a JSON object", field=field, value=value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
