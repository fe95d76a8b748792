"""Prints results: JSON for programs, tables for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

HELP_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
# Wide enough that no cell is cut when the output goes to a file or a pipe.
PIPE_COLUMNS = 400
LEAST_FITTED = 20


def print_json(value: object) -> None:
    """Prints one JSON value on stdout, with dataclasses as objects and times in ISO 8601."""
    click.echo(json.dumps(plain(value), ensure_ascii=False))


def print_event(event: str, values: Mapping[str, object]) -> None:
    """Prints one JSON line on stdout, for a program that follows a long command. Floats are rounded."""
    rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
    click.echo(json.dumps(plain({"event": event, **rounded})))


def note_line(message: str) -> str:
    """A note: what a user should know and what is no error, in one line."""
    return f"note: {' '.join(message.split())}"


def print_note(message: str) -> None:
    """Prints a note on stderr."""
    click.echo(note_line(message), err=True)


def plain(value: Any) -> Any:
    """`value` as JSON types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Exception):
        return str(value)
    return value


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object] | None],
    text_columns: int | None = None,
    fitted: int | None = None,
) -> None:
    """Prints a table on stdout; None is an empty line between rows.

    On a terminal, the column `fitted` is cut so that each row is one line, if the other columns leave room for it.
    The first `text_columns` columns are aligned to the left, the others to the right. None: columns of numbers alone are
    aligned to the right.
    """
    table = Table(header_style="bold", box=None, pad_edge=False)
    filled = [row for row in rows if row is not None]
    for index, column in enumerate(columns):
        if text_columns is not None:
            right = index >= text_columns
        else:
            right = bool(filled) and all(isinstance(row[index], int | float) for row in filled)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    console = _console()
    shown = [[cell(value) for value in row or [""] * len(columns)] for row in rows]
    if fitted is not None and console.is_terminal:
        _fit([list(columns), *shown], fitted, console.width)
    for row in shown:
        table.add_row(*row)
    console.print(table)


def _fit(rows: list[list[str]], column: int, width: int) -> None:
    """Cuts the cells of a column to what the widest cells of the others leave, or to LEAST_FITTED."""
    others = [max(cell_len(row[index]) for row in rows) for index in range(len(rows[0])) if index != column]
    left = max(LEAST_FITTED, width - sum(others) - 2 * len(others))
    for row in rows[1:]:
        if cell_len(row[column]) > left:
            row[column] = set_cell_size(row[column], left - 1).rstrip() + "…"


def print_fields(fields: Mapping[str, object]) -> None:
    """Prints names and values, one pair per line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, cell(value))
    _console().print(table)


def _console() -> Console:
    """Stdout as it is now; documents' brackets and colons are text, not markup."""
    drawn = Console(markup=False, highlight=False, emoji=False)
    if not drawn.is_terminal:
        drawn.width = PIPE_COLUMNS
    return drawn


_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def cell(value: object) -> str:
    """A value in one line. Control characters are dropped: a document must not control the reader's terminal. Joiners stay,
    because words of Persian and of the scripts of India are spelled with them."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.astimezone().isoformat(sep=" ", timespec="seconds")
    return "".join(char for char in " ".join(str(value).split()) if char.isprintable() or char in _JOINERS)


def shorten(text: str, characters: int = 160) -> str:
    """The beginning of a text, in one line."""
    line = cell(text)
    return line if len(line) <= characters else line[: characters - 1] + "…"
