"""Cuts the input into splits, one for each reading task, and splits into parts, each committed on its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shoal.records import InputFile

Item = TypeVar("Item")

SPLIT_BYTES = 16 * 1024 * 1024
SPLIT_FILES = 4096
_NAME = re.compile(r"part-(\d{6,})-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Split:
    """Files that one task reads, in order."""

    index: int
    files: tuple[InputFile, ...]


@dataclass(frozen=True, slots=True)
class PartId:
    """A part: the index of its split, and its index in that split, both from 0."""

    split: int
    index: int

    @property
    def name(self) -> str:
        """The name of its files without a suffix. Names sort like the input, up to a million splits of a million parts."""
        return f"part-{self.split:06d}-{self.index:06d}"

    @staticmethod
    def parse(name: str) -> PartId | None:
        """The part with that name; None when no part can have it."""
        found = _NAME.fullmatch(name)
        return PartId(int(found[1]), int(found[2])) if found else None


def plan_splits(files: Sequence[InputFile], most_bytes: int = SPLIT_BYTES, most_files: int = SPLIT_FILES) -> list[Split]:
    """Groups small files, in order; a large file is a split of its own. The same files give the same splits."""
    splits: list[list[InputFile]] = []
    size = 0
    for file in files:
        if not splits or size + file.bytes > most_bytes or len(splits[-1]) >= most_files:
            splits.append([])
            size = 0
        splits[-1].append(file)
        size += file.bytes
    return [Split(index, tuple(split)) for index, split in enumerate(splits)]


def cut(items: Iterable[tuple[Item, int]], most_items: int, most_size: int) -> Iterator[tuple[list[Item], bool]]:
    """Cuts items, each given with its size, into runs; yields each with whether it is the last. There is at least one run,
    which may be empty.

    A run has at most `most_items`, and at most `most_size` unless it is a single item. Holds one run and one item in memory.
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
    """The finished parts of a job."""

    parts: Mapping[int, frozenset[int]]
    """By split."""
    last: Mapping[int, int]
    """The index of the last part of each split, where it is known."""

    @staticmethod
    def of(finished: Iterable[tuple[PartId, bool]]) -> Finished:
        """From the finished parts, each given with whether it is the last of its split."""
        parts: dict[int, set[int]] = {}
        last: dict[int, int] = {}
        for part, is_last in finished:
            parts.setdefault(part.split, set()).add(part.index)
            if is_last:
                last[part.split] = part.index
        return Finished({split: frozenset(found) for split, found in parts.items()}, last)

    def whole(self, split: int) -> bool:
        """Whether all parts of a split are finished."""
        return split in self.last and len(self.parts[split]) == self.last[split] + 1

    def left(self, splits: Iterable[Split]) -> list[Split]:
        """The splits that have unfinished parts."""
        return [split for split in splits if not self.whole(split.index)]


class PartsInOrder(Generic[Item]):
    """Gives what belongs to parts in the order of the input, though they finish in any order. Pure."""

    def __init__(self, splits: Iterable[Split], finished: Finished) -> None:
        """`splits` are those that are left, in order; parts that `finished` has are passed over."""
        self._splits = [split.index for split in splits]
        self._finished = finished
        self._waiting: dict[PartId, tuple[bool, Item]] = {}
        self._next = 0
        """Index of the next part within the first of `_splits`."""

    def add(self, part: PartId, last: bool, item: Item) -> list[Item]:
        """Takes the item of a part, and whether that is the last of its split; returns the items that follow in order."""
        self._waiting[part] = (last, item)
        ready: list[Item] = []
        while self._splits:
            split = self._splits[0]
            if self._next in self._finished.parts.get(split, ()):
                was_last = self._finished.last.get(split) == self._next
            elif (waiting := self._waiting.pop(PartId(split, self._next), None)) is not None:
                was_last, item = waiting
                ready.append(item)
            else:
                break
            self._next += 1
            if was_last:
                self._splits.pop(0)
                self._next = 0
        return ready
