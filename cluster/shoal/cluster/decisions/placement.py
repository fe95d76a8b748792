"""Which shard a document belongs to, and which worker a shard belongs to. Pure."""

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

Shard = TypeVar("Shard", bound=Hashable)


def shard_of(document_id: str, shards: int) -> int:
    """The shard, from 0, that holds a document. Stable for ever: it depends on the id and the number of shards alone."""
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % shards


def place_shards(shards: Iterable[Shard], workers: Iterable[str], current: Mapping[Shard, str]) -> dict[Shard, str]:
    """Gives every shard a worker so that loads differ by at most one, and moves as few shards as that allows.

    `current` may name workers and shards that are gone. Returns {} without workers. Order of input decides ties, so the
    same input gives the same answer.
    """
    ordered = list(dict.fromkeys(shards))
    held: dict[str, list[Shard]] = {worker: [] for worker in dict.fromkeys(workers)}
    if not held:
        return {}
    for shard in ordered:
        worker = current.get(shard)
        if worker in held:
            held[worker].append(shard)
    share, extra = divmod(len(ordered), len(held))
    # The larger shares go to those who hold most already: that is what keeps moves few.
    by_load = sorted(held, key=lambda worker: -len(held[worker]))
    quota = {worker: share + (rank < extra) for rank, worker in enumerate(by_load)}
    placed = {shard: worker for worker, kept in held.items() for shard in kept[: quota[worker]]}
    room = {worker: quota[worker] - min(len(held[worker]), quota[worker]) for worker in held}
    for shard in ordered:
        if shard not in placed:
            # The emptiest first, so that the shards of one collection spread.
            worker = max(room, key=lambda name: room[name])
            placed[shard] = worker
            room[worker] -= 1
    return {shard: placed[shard] for shard in ordered}
