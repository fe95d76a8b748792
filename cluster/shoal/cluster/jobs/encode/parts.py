"""Cuts the input into splits, each read by one task, and a split's records into parts, each committed on its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shoal.records import InputFile

Item = TypeVar("Item")

SPLIT_BYTES = 16 * 1024 * 1024
SPLIT_FILES = 4096
_NAME = re.compile(r"part-(\d{6,})-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Split:
    """Files that one task reads, in order."""

    number: int
    files: tuple[InputFile, ...]


@dataclass(frozen=True, slots=True)
class PartId:
    """A part: which split it is of, and which part of that, both from 0."""

    split: int
    index: int

    @property
    def name(self) -> str:
        """Name of its files without a suffix; names sort as the input does up to a million splits of a million parts."""
        return f"part-{self.split:06d}-{self.index:06d}"

    @staticmethod
    def parse(name: str) -> PartId | None:
        """The part of that name, None when it is the name of none."""
        found = _NAME.fullmatch(name)
        return PartId(int(found[1]), int(found[2])) if found else None


def plan_splits(files: Sequence[InputFile], most_bytes: int = SPLIT_BYTES, most_files: int = SPLIT_FILES) -> list[Split]:
    """Puts small files together, in order; a large one is a split of its own. The same files give the same splits."""
    splits: list[list[InputFile]] = []
    size = 0
    for file in files:
        if not splits or size + file.bytes > most_bytes or len(splits[-1]) >= most_files:
            splits.append([])
            size = 0
        splits[-1].append(file)
        size += file.bytes
    return [Split(number, tuple(split)) for number, split in enumerate(splits)]


def cut(items: Iterable[tuple[Item, int]], most_items: int, most_size: int) -> Iterator[tuple[list[Item], bool]]:
    """Cuts items, each with its size, into runs; and whether a run is the last. There is always one, be it empty.

    A run holds at most `most_items`, and at most `most_size` unless it is a single item. Needs to hold one run and an item.
    """
    run: list[Item] = []
    size = 0
    for item, its_size in items:
        if run and (len(run) >= most_items or size + its_size > most_size):
            yield run, False
            run, size = [], 0
        run.append(item)
        size += its_size
    yield run, True


@dataclass(frozen=True, slots=True)
class Finished:
    """The parts that need no work."""

    parts: Mapping[int, frozenset[int]]
    """By split."""
    last: Mapping[int, int]
    """The last part of each split where it is known."""

    @staticmethod
    def of(finished: Iterable[tuple[PartId, bool]]) -> Finished:
        """From the finished parts, each with whether it is the last of its split."""
        parts: dict[int, set[int]] = {}
        last: dict[int, int] = {}
        for part, is_last in finished:
            parts.setdefault(part.split, set()).add(part.index)
            if is_last:
                last[part.split] = part.index
        return Finished({split: frozenset(found) for split, found in parts.items()}, last)

    def whole(self, split: int) -> bool:
        """True when nothing of a split is left to do."""
        return split in self.last and len(self.parts[split]) == self.last[split] + 1

    def left(self, splits: Iterable[Split]) -> list[Split]:
        """The splits of which something is left to do."""
        return [split for split in splits if not self.whole(split.number)]
