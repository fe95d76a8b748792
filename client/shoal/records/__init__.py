"""Reads records from users' files, for all commands that take files. Does not depend on the rest of Shoal.

`find` lists the files of folders and patterns, `reading` reads their rows, and `mapping` turns a row into a record: an id,
a text and a payload. A row that cannot be read or is not a valid record is reported with its line and the reason; reading
continues with the next row.
"""

from shoal.records.decoding.encodings import is_utf8
from shoal.records.errors import Damaged, InputError, shown_path
from shoal.records.find import InputFile, as_given, find_inputs, open_input
from shoal.records.formats import has_rows, is_plain, suffix_of
from shoal.records.limits import RecordLimits, check_record
from shoal.records.mapping import USUAL_FIELDS, BadRecord, Fields, Record, TextFields
from shoal.records.parquet import parquet_group_bytes, parquet_row_count
from shoal.records.payloads import is_unicode
from shoal.records.reading import (
    damage_reason,
    first_row_fault,
    read_bare_table,
    read_file,
    read_lines,
    read_rows,
    read_table,
    text_chunks,
)
from shoal.records.rejects import RejectedRow, RejectsInOrder, null_messages, reasons_in_words, rows_were
from shoal.records.repeated_ids import RepeatedIdNotes, RepeatedIds
from shoal.records.rows import BadRow, BareRow, Row, row_message
from shoal.records.tables import header_fault

__all__ = [
    "BadRecord",
    "BadRow",
    "BareRow",
    "Damaged",
    "Fields",
    "InputError",
    "InputFile",
    "Record",
    "RecordLimits",
    "RejectedRow",
    "RejectsInOrder",
    "RepeatedIdNotes",
    "RepeatedIds",
    "Row",
    "TextFields",
    "USUAL_FIELDS",
    "as_given",
    "check_record",
    "damage_reason",
    "find_inputs",
    "first_row_fault",
    "has_rows",
    "header_fault",
    "is_plain",
    "is_unicode",
    "is_utf8",
    "null_messages",
    "open_input",
    "parquet_group_bytes",
    "parquet_row_count",
    "read_bare_table",
    "read_file",
    "read_lines",
    "read_rows",
    "read_table",
    "reasons_in_words",
    "row_message",
    "rows_were",
    "shown_path",
    "suffix_of",
    "text_chunks",
]
