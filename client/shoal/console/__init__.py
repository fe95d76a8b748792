"""What all commands of `shoal` have in common: how they fail, print results, report progress and bad rows, and name models.

Used by the client's commands and the cluster's. Does not depend on the rest of Shoal.
"""

from shoal.console.bad_rows import BadRowReport
from shoal.console.failure import FAILED, INTERRUPTED, Failure, print_error, show_error
from shoal.console.model_names import absolute_model_name
from shoal.console.output import (
    HELP_SETTINGS,
    cell,
    note_line,
    print_event,
    print_fields,
    print_json,
    print_note,
    print_table,
    shorten,
)
from shoal.console.paths import FilePath
from shoal.console.progress_reporter import ProgressReporter, duration

__all__ = [
    "BadRowReport",
    "FAILED",
    "Failure",
    "FilePath",
    "HELP_SETTINGS",
    "INTERRUPTED",
    "ProgressReporter",
    "absolute_model_name",
    "cell",
    "duration",
    "note_line",
    "print_error",
    "print_event",
    "print_fields",
    "print_json",
    "print_note",
    "print_table",
    "shorten",
    "show_error",
]
