"""What all commands of `shoal` have in common: how they fail, print results, report bad rows and name models.

Used by the client's commands and the cluster's. Does not depend on the rest of Shoal.
"""

from shoal.console.bad_rows import BadRowReport
from shoal.console.failure import FAILED, INTERRUPTED, Failure, print_error, show_error
from shoal.console.model_names import absolute_model_name
from shoal.console.output import HELP_SETTINGS, cell, print_event, print_fields, print_json, print_table, shorten

__all__ = [
    "BadRowReport",
    "FAILED",
    "Failure",
    "HELP_SETTINGS",
    "INTERRUPTED",
    "absolute_model_name",
    "cell",
    "print_error",
    "print_event",
    "print_fields",
    "print_json",
    "print_table",
    "shorten",
    "show_error",
]
