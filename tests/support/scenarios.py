"""Runs scenarios written as text: commands and the answers that are expected, in one file that can be reviewed.

A file is a list of blocks, separated by blank lines. `#` starts a comment line. A block is a command, the lines that it
gets as input, `----`, and the expected answer up to the next blank line:

    # The first loss is forgiven.
    fail batch=a,b,c how=lost
    ----
    retry a,b,c strikes=1 after 0.2 s

A command is a name, `key=value` arguments and bare words. `pytest --rewrite-scenarios` puts today's answers in the place
of the expected ones; read the diff before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

SEPARATOR = "----"


@dataclass(frozen=True)
class Command:
    """One command of a scenario."""

    name: str
    arguments: dict[str, str] = field(default_factory=dict)
    """Values by key; a bare word is a key with the value ""."""
    words: tuple[str, ...] = ()
    """The bare words, in order."""
    lines: tuple[str, ...] = ()
    """The lines between the command and `----`."""

    def text(self, key: str, default: str | None = None) -> str:
        """The argument, or the default; raises KeyError without either."""
        return self.arguments[key] if default is None else self.arguments.get(key, default)

    def integer(self, key: str, default: int | None = None) -> int:
        """The argument as a whole number."""
        return int(self.text(key, None if default is None else str(default)))

    def number(self, key: str, default: float | None = None) -> float:
        """The argument as a number."""
        return float(self.text(key, None if default is None else str(default)))


@dataclass(frozen=True)
class _Block:
    comments: tuple[str, ...]
    command: str
    lines: tuple[str, ...]
    expected: tuple[str, ...]


def run_scenario(path: Path, answer: Callable[[Command], str], rewrite: bool = False) -> bool:
    """Gives every command of a file to `answer`, in order; an answer must not contain a blank line.

    Raises AssertionError with a diff when an answer is not the expected one. With `rewrite` the file gets today's answers
    instead; returns whether that changed it.
    """
    before = path.read_text(encoding="utf-8")
    blocks = _parse(before, path.name)
    assert any(block.command for block in blocks), f"{path.name}: no command"
    after = "\n".join(_shown(block, answer) for block in blocks)
    if rewrite:
        path.write_text(after, encoding="utf-8")
        return after != before
    difference = "\n".join(unified_diff(before.splitlines(), after.splitlines(), "expected", "answered", lineterm="", n=8))
    assert not difference, f"{path.name}: run pytest --rewrite-scenarios if this is meant to change\n{difference}"
    return False


def parse_command(line: str, lines: tuple[str, ...] = ()) -> Command:
    """A command line, split at blanks."""
    name, *rest = line.split()
    pairs = [word.partition("=") for word in rest]
    assert len({key for key, _, _ in pairs}) == len(pairs), f"an argument is given twice: {line}"
    words = tuple(key for key, equals, _ in pairs if not equals)
    return Command(name, {key: value for key, _, value in pairs}, words, lines)


def _parse(text: str, name: str) -> list[_Block]:
    blocks: list[_Block] = []
    for part in filter(str.strip, text.split("\n\n")):
        lines = part.strip("\n").split("\n")
        comments = [line for line in lines if line.startswith("#")]
        # Comments stand above the command; within a block they would be lost in a rewrite.
        rest = lines[len(comments) :]
        assert not any(line.startswith("#") for line in rest), f"{name}: a comment within a block: {rest[0]}"
        if not rest:
            blocks.append(_Block(tuple(comments), "", (), ()))
            continue
        assert SEPARATOR in rest, f"{name}: no {SEPARATOR} after: {rest[0]}"
        at = rest.index(SEPARATOR)
        blocks.append(_Block(tuple(comments), rest[0], tuple(rest[1:at]), tuple(rest[at + 1 :])))
    return blocks


def _shown(block: _Block, answer: Callable[[Command], str]) -> str:
    lines = list(block.comments)
    if block.command:
        answered = answer(parse_command(block.command, block.lines)).strip("\n")
        assert "\n\n" not in answered, f"the answer to {block.command!r} contains a blank line"
        lines += [block.command, *block.lines, SEPARATOR, *([answered] if answered else [])]
    return "\n".join(lines) + "\n"
