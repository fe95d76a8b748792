"""Checks a record against the limits of what takes it. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shoal.records.mapping import BadRecord, Record


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """Bounds on one record, in bytes of UTF-8; all inclusive."""

    id_bytes: int
    text_bytes: int
    payload_bytes: int | None = None
    """Of the payload as JSON without spaces; None for any size."""
    empty_text: bool = False
    """Whether a record may have neither a text nor a vector."""


def check_record(record: Record, limits: RecordLimits) -> None:
    """Raises BadRecord, with the size and the limit, when a record is too large, or empty where it may not be."""
    if (id_bytes := len(record.id.encode())) > limits.id_bytes:
        raise BadRecord(record.id[:40], f"the id is too long: {id_bytes} bytes, the limit is {limits.id_bytes}")
    if (text_bytes := len(record.text.encode())) > limits.text_bytes:
        raise BadRecord(record.id, f"the text is too long: {text_bytes} bytes, the limit is {limits.text_bytes}")
    if not limits.empty_text and record.vector is None and not record.text.strip():
        raise BadRecord(record.id, "text is empty or only whitespace")
    if limits.payload_bytes is not None and record.payload:
        payload = json.dumps(record.payload, separators=(",", ":"), ensure_ascii=False)
        if (payload_bytes := len(payload.encode())) > limits.payload_bytes:
            reason = f"the payload is too long: {payload_bytes} bytes, the limit is {limits.payload_bytes}"
            raise BadRecord(record.id, reason)
