from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.decisions.placement import place_shards, shard_of


def test_shard_of_never_changes() -> None:
    # Frozen values: another function would look for stored documents in the wrong shards.
    assert [shard_of(name, 8) for name in ("a", "b", "tokyo", "東京", "doc-42")] == [0, 4, 1, 6, 3]


def test_documents_spread_evenly() -> None:
    counts = Counter(shard_of(f"doc-{number}", 16) for number in range(16_000))
    assert len(counts) == 16
    assert min(counts.values()) > 850 and max(counts.values()) < 1150


def test_no_workers_place_nothing() -> None:
    assert place_shards(range(4), [], {0: ["gone"]}) == {}


def test_only_a_lost_workers_shards_move() -> None:
    before = place_shards(range(9), ["a", "b", "c"], {})
    after = place_shards(range(9), ["a", "c"], before)
    assert {shard for shard in before if before[shard] != after[shard]} == {s for s in before if before[s] == ("b",)}


def test_a_new_worker_takes_its_share_and_nothing_else_moves() -> None:
    before = place_shards(range(9), ["a", "b"], {})
    after = place_shards(range(9), ["a", "b", "c"], before)
    moved = [shard for shard in before if before[shard] != after[shard]]
    assert len(moved) == 3 and {after[shard] for shard in moved} == {("c",)}


names = st.sampled_from("abcdef")


@given(st.integers(0, 20), st.lists(names, min_size=1, unique=True), st.dictionaries(st.integers(0, 25), names))
def test_loads_differ_by_at_most_one_with_the_fewest_moves(shards: int, workers: list[str], holders: dict[int, str]) -> None:
    current = {shard: (worker,) for shard, worker in holders.items()}
    placed = place_shards(range(shards), workers, current)
    assert sorted(placed) == list(range(shards))
    assert all(len(on) == 1 for on in placed.values())
    loads = [sum(1 for on in placed.values() if on == (name,)) for name in workers]
    assert sum(loads) == shards and max(loads) - min(loads) <= 1
    kept = sum(1 for shard in placed if placed[shard] == current.get(shard))
    held = sorted((sum(1 for s in range(shards) if current.get(s) == (name,)) for name in workers), reverse=True)
    share, extra = divmod(shards, len(workers))
    assert kept == sum(min(load, share + (rank < extra)) for rank, load in enumerate(held))
    assert place_shards(range(shards), workers, placed) == placed


@given(
    st.integers(0, 20),
    st.lists(names, min_size=1, unique=True),
    st.dictionaries(st.integers(0, 25), st.lists(names, max_size=4)),
    st.integers(1, 4),
)
def test_replicas_of_a_shard_are_on_different_workers_with_equal_loads(
    shards: int, workers: list[str], current: dict[int, list[str]], replicas: int
) -> None:
    placed = place_shards(range(shards), workers, current, replicas)
    copies = min(replicas, len(workers))
    assert sorted(placed) == list(range(shards))
    assert all(len(set(on)) == len(on) == copies and set(on) <= set(workers) for on in placed.values())
    loads = [sum(name in on for on in placed.values()) for name in workers]
    assert max(loads) - min(loads) <= 1
    # What is placed stays where it is.
    assert place_shards(range(shards), workers, placed, replicas) == placed
