"""Builds replies about single documents from ledger records. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.cluster.ledger.records import DocumentRecord, ExplainRecord, FailedDocuments
from shoal.cluster.rpc.routing import ModelId, RoutingTable
from shoal.v1 import documents_pb2


def get_response(documents: Sequence[DocumentRecord]) -> documents_pb2.GetResponse:
    """The documents as they are stored."""
    response = documents_pb2.GetResponse()
    for document in documents:
        response.documents.add(
            id=document.id,
            text=document.text,
            payload=document.payload,
            version=document.version,
            changed_at_ms=document.changed_at_ms,
            searchable=document.searchable,
        )
    return response


def explain_response(
    record: ExplainRecord, served_versions: Sequence[int | None], table: RoutingTable
) -> documents_pb2.ExplainResponse:
    """One document's state. `served_versions` has one entry for each of the record's generations: the version that the
    shard's worker serves, None where it did not answer."""
    explanation = documents_pb2.Explanation(
        id=record.id, version=record.version, wanted_version=record.wanted_version, deleted=record.deleted
    )
    for state, served_version in zip(record.generations, served_versions, strict=True):
        outage = table.outage(ModelId(state.generation.model, state.generation.fingerprint))
        explanation.generations.add(
            generation=state.generation.number,
            active=state.generation.state == "active",
            fingerprint=state.generation.fingerprint,
            shard=state.shard,
            embedded_version=state.embedded_version,
            truncated=state.truncated,
            served_version=served_version,
            worker=state.worker,
            attempts=state.attempts,
            last_error=state.error,
            next_attempt_at_ms=state.next_attempt_at_ms,
            failed=state.failed,
            problem=outage.reason if outage is not None else "",
        )
    return documents_pb2.ExplainResponse(explanation=explanation)


def failed_response(failed: FailedDocuments) -> documents_pb2.ListFailedResponse:
    """The documents that could not be embedded, and their total number."""
    response = documents_pb2.ListFailedResponse(total=failed.total)
    for document in failed.documents:
        response.documents.add(
            id=document.id,
            version=document.version,
            reason=document.reason,
            attempts=document.attempts,
            failed_at_ms=document.failed_at_ms,
        )
    return response
