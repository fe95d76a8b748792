"""Checks a record against the limits of a job and writes its payload as canonical JSON. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shoal.cluster.limits import RequestLimits
from shoal.records import BadRecord, Record

ID_BYTES = RequestLimits().id_bytes
TEXT_BYTES = 1024 * 1024
"""The longest text. It is held in memory, and no model reads nearly as much."""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A record to encode and write."""

    id: str
    text: str
    payload: str
    """A canonical JSON object."""


def input_record(record: Record) -> InputRecord:
    """The record to encode; raises BadRecord with the reason when it is over a limit."""
    if (id_bytes := len(record.id.encode())) > ID_BYTES:
        raise BadRecord(record.id[:40], f"the id has {id_bytes} bytes, the limit is {ID_BYTES}")
    if (text_bytes := len(record.text.encode())) > TEXT_BYTES:
        raise BadRecord(record.id, f"the text has {text_bytes} bytes, the limit is {TEXT_BYTES}")
    payload = json.dumps(record.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return InputRecord(record.id, record.text, payload)
