"""The errors of this package, and errors of others in one line."""

from __future__ import annotations

import sys
from typing import Any, cast


class InputError(Exception):
    """An input cannot be found or read. The message is one line that names it."""


class Damaged(Exception):
    """The rest of a file cannot be read; everything before it is valid. The message does not name the file."""

    def __init__(self, reason: str, complete: bool = False) -> None:
        super().__init__(reason)
        self.complete = complete
        """True if the content before the damage is complete, so that its last line is a whole line."""


def one_line(error: BaseException) -> str:
    """The message of an error in one line of at most 300 characters."""
    if isinstance(error, OSError) and error.strerror:
        message = error.strerror
    else:
        message = str(error).strip() or type(error).__name__
    return " ".join(message.split())[:300]


def shown_path(path: str) -> str:
    """A path as a message names it: as it is, or quoted where its end or a character in it could not be seen."""
    return path if path and path.isprintable() and path == path.strip() else repr(path)


def needs_pyarrow(path: str, what: str) -> InputError:
    """The error for an input that only pyarrow can read, if pyarrow is not installed."""
    return InputError(f"{path}: reading {what} needs pyarrow: pip install 'shoal[cluster]'")


def storage_errors() -> tuple[type[Exception], ...]:
    """What reading storage raises: OSError, and pyarrow's own errors once pyarrow is loaded."""
    pyarrow = cast(Any, sys.modules.get("pyarrow"))
    return (OSError,) if pyarrow is None else (OSError, pyarrow.ArrowException)
