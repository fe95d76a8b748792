"""Reads records from users' files, for all commands that take files. Does not depend on the rest of Shoal.

`find` lists the files of folders and patterns, `reading` reads their rows, and `mapping` turns a row into a record: an id,
a text and a payload. A row that cannot be read or is not a valid record is reported with its line and the reason; reading
continues with the next row.
"""

from shoal.records.errors import InputError, shown_path
from shoal.records.find import InputFile, find_inputs, open_input
from shoal.records.formats import suffix_of
from shoal.records.limits import RecordLimits, check_record
from shoal.records.mapping import USUAL_FIELDS, BadRecord, Fields, Record
from shoal.records.parquet import parquet_row_count
from shoal.records.reading import first_row_fault, read_file, read_rows
from shoal.records.rejects import RejectedRow, RejectsInOrder, null_messages, reasons_in_words
from shoal.records.repeated_ids import RepeatedIds
from shoal.records.rows import BadRow, Row, row_message

__all__ = [
    "BadRecord",
    "BadRow",
    "Fields",
    "InputError",
    "InputFile",
    "Record",
    "RecordLimits",
    "RejectedRow",
    "RejectsInOrder",
    "RepeatedIds",
    "Row",
    "USUAL_FIELDS",
    "check_record",
    "find_inputs",
    "first_row_fault",
    "null_messages",
    "open_input",
    "parquet_row_count",
    "read_file",
    "read_rows",
    "reasons_in_words",
    "row_message",
    "shown_path",
    "suffix_of",
]
