"""Checks a record against the limits of a job and writes its payload as canonical JSON. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shoal.cluster.limits import RequestLimits
from shoal.records import Record, RecordLimits, check_record

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
    nulls: tuple[str, ...] = ()
    """Fields of the payload in which NaN or an infinity became null."""


def input_record(record: Record) -> InputRecord:
    """The record to encode; raises BadRecord with the reason when it is over a limit."""
    check_record(record, RecordLimits(ID_BYTES, TEXT_BYTES))
    payload = json.dumps(record.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return InputRecord(record.id, record.text, payload, record.nulls)
