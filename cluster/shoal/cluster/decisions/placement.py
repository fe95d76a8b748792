"""Which shard a document belongs to, and which index workers serve a shard. Pure."""

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Shard = TypeVar("Shard", bound=Hashable)


def shard_of(document_id: str, shards: int) -> int:
    """The shard, from 0, that holds a document. It depends on the id and the number of shards only and never changes."""
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shards


def place_shards(
    shards: Iterable[Shard], workers: Iterable[str], current: Mapping[Shard, Sequence[str]], replicas: int = 1
) -> dict[Shard, tuple[str, ...]]:
    """Gives every shard `replicas` different workers (all of them if there are fewer), so that loads differ by at most one.

    With one replica no other balanced placement moves fewer shards. `current` may name workers and shards that are gone.
    Ties go by the order of the input, so the same input gives the same answer. Returns {} without workers.
    """
    ordered = list(dict.fromkeys(shards))
    held: dict[str, list[Shard]] = {worker: [] for worker in dict.fromkeys(workers)}
    if not held:
        return {}
    copies = min(replicas, len(held))
    for shard in ordered:
        kept = [worker for worker in dict.fromkeys(current.get(shard, ())) if worker in held]
        for worker in kept[:copies]:
            held[worker].append(shard)
    share, extra = divmod(copies * len(ordered), len(held))
    # The workers that hold most keep the larger shares, so that few shards move.
    by_load = sorted(held, key=lambda worker: -len(held[worker]))
    quota = {worker: share + (rank < extra) for rank, worker in enumerate(by_load)}
    placed: dict[Shard, list[str]] = {shard: [] for shard in ordered}
    for worker, kept in held.items():
        del kept[quota[worker] :]
        for shard in kept:
            placed[shard].append(worker)
    for shard in ordered:
        while len(placed[shard]) < copies:
            # The emptiest worker first, so that the shards of one collection spread.
            by_room = sorted(held, key=lambda name: len(held[name]) - quota[name])
            worker = next((name for name in by_room if shard not in held[name]), by_room[0])
            if len(held[worker]) >= quota[worker]:
                _make_room(worker, by_room[0], held, placed)
            held[worker].append(shard)
            placed[shard].append(worker)
    return {shard: _in_order(placed[shard], current.get(shard, ())) for shard in ordered}


def _make_room(full: str, emptiest: str, held: dict[str, list[Shard]], placed: dict[Shard, list[str]]) -> None:
    """Moves a shard from a full worker to the emptiest, when only workers with that shard have room.

    There is one to move: the full worker holds at least as many as the emptiest, but not that shard.
    """
    moved = next(other for other in held[full] if other not in held[emptiest])
    held[full].remove(moved)
    held[emptiest].append(moved)
    placed[moved][placed[moved].index(full)] = emptiest


def _in_order(workers: Sequence[str], before: Sequence[str]) -> tuple[str, ...]:
    """Workers that served the shard before come first, in their order."""
    kept = [worker for worker in dict.fromkeys(before) if worker in workers]
    return (*kept, *(worker for worker in workers if worker not in kept))
