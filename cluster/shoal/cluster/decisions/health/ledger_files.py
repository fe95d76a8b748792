"""Whether the files of a SQLite ledger are still those that were opened.

A process keeps a file open when it is deleted or replaced, and may go on writing to it: what it writes is lost with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A file, whatever it is called: its device and inode."""

    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class LedgerFiles:
    """What the names of a ledger's files stand for at one moment; None where there is no file."""

    database: FileIdentity | None
    log: FileIdentity | None
    """The write-ahead log, which holds the newest commits."""


def difference(opened: LedgerFiles, found: LedgerFiles) -> str:
    """Why the files found are not those that were opened, in words for an error message; empty if they are.

    Files that are moved away and back are the same again.
    """
    for name, before, now in (
        ("file", opened.database, found.database),
        ("write-ahead log", opened.log, found.log),
    ):
        if before is not None and now is None:
            return f"its {name} was deleted or moved away while in use"
        if before is not None and now != before:
            return f"its {name} was replaced by another while in use"
    return ""
