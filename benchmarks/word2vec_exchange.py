"""How learners can best exchange what they learnt: through Ray's object store, or with gloo's all-reduce between their
processes.

Both add up float32 rows over 2 and 4 actors, as a merge of Word2Vec does: through the store each actor puts one part for
every other, adds up its own range, puts that, and reads the others' ranges. Only rows that changed travel there; gloo's
all-reduce wants the same rows of all, so it is timed with those alone, as if all had changed the same ones, and with whole
tables. They take turns; medians are printed.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray

from shoal.cluster.ray_runtime.session import joined_ray

ACTORS = (2, 4)


@ray.remote(num_cpus=1)
class Member:
    """Holds the rows that one learner changed."""

    def __init__(self, rows: int, width: int, seed: int) -> None:
        self._rows = np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)
        self._added: Any = None

    @ray.method
    def parts(self, count: int, own: int) -> Any:
        """All ranges of rows but its own, each an object."""
        ranges = [part for place, part in enumerate(np.array_split(self._rows, count)) if place != own]
        return tuple(ranges) if len(ranges) > 1 else ranges[0]

    @ray.method
    def add_range(self, count: int, own: int, *others: Any) -> Any:
        """Its own range of all members added up."""
        total = np.array_split(self._rows, count)[own].copy()
        for other in others:
            total += other
        return total

    @ray.method
    def take(self, *ranges: Any) -> float:
        """Copies all ranges into the memory of this process."""
        self._added = np.concatenate(ranges)
        return float(self._added[:100].sum())

    @ray.method
    def join(self, address: str, own: int, count: int) -> None:
        """Joins gloo's group."""
        import torch
        import torch.distributed as distributed

        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=f"tcp://{address}", rank=own, world_size=count)

    @ray.method
    def all_reduce(self, rows: int) -> float:
        """The sum by gloo, of so many rows."""
        import torch
        import torch.distributed as distributed

        total = torch.from_numpy(np.resize(self._rows, (rows, self._rows.shape[1])))
        distributed.all_reduce(total)
        return float(total[:100].sum())


def through_store(members: list[Any]) -> list[float]:
    """What each member has in the end."""
    count = len(members)
    given: list[list[Any]] = []
    for place, member in enumerate(members):
        call = member.parts.options(num_returns=count - 1).remote(count, place)
        parts = [call] if count == 2 else list(call)
        given.append([*parts[:place], None, *parts[place:]])
    ranges = [
        member.add_range.remote(count, place, *(parts[place] for other, parts in enumerate(given) if other != place))
        for place, member in enumerate(members)
    ]
    return ray.get([member.take.remote(*ranges) for member in members])


def by_gloo(members: list[Any], rows: int) -> list[float]:
    """What each member has in the end."""
    return ray.get([member.all_reduce.remote(rows) for member in members])


def free_address() -> str:
    """Of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="of both tables")
    parser.add_argument("--changed", type=float, default=0.72, help="the share that a learner changes in a round")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows, rounds = (10_000, 2) if options.quick else (options.rows, options.rounds)
    changed = round(rows * options.changed)
    print(
        f"{changed} of {rows} rows of {options.dim} float32 changed, {changed * options.dim * 4 / 1e6:.0f} MB of each actor"
    )
    with joined_ray(max(ACTORS)):
        for count in ACTORS:
            members: list[Any] = [Member.remote(changed, options.dim, seed) for seed in range(count)]
            address = free_address()
            ray.get([member.join.remote(address, place, count) for place, member in enumerate(members)])
            ways: dict[str, Callable[[list[Any]], list[float]]] = {
                "object store": through_store,
                "gloo, the same rows": lambda members: by_gloo(members, changed),
                "gloo, whole tables": lambda members: by_gloo(members, rows),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(rounds + 1):
                sums = []
                for name, way in ways.items():
                    started_s = time.monotonic()
                    sums += way(members)
                    if turn:  # The first warms up.
                        times[name].append(time.monotonic() - started_s)
                np.testing.assert_allclose(sums, sums[0], rtol=1e-3, atol=1e-2)
            store, *others = (statistics.median(times[name]) for name in ways)
            shown = ", ".join(f"{name} {time_s:.3f} s" for name, time_s in zip(ways, (store, *others), strict=True))
            ratios = ", ".join(f"{other / store:.2f}" for other in others)
            print(f"{count} actors: {shown}; {ratios} of the store's", flush=True)
            for member in members:
                ray.kill(member)


if __name__ == "__main__":
    main()
