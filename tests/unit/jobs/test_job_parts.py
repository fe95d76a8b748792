from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.cluster.jobs.encode.parts import Finished, PartId, PartsInOrder, Split, cut, plan_splits
from shoal.records import InputFile


def file(number: int, size: int) -> InputFile:
    return InputFile(f"/{number}.jsonl", f"{number}.jsonl", size, 0)


@given(st.lists(st.integers(0, 30)), st.integers(1, 40), st.integers(1, 4))
def test_splits_hold_every_file_once_and_in_order(sizes: list[int], most_bytes: int, most_files: int):
    files = [file(number, size) for number, size in enumerate(sizes)]
    splits = plan_splits(files, most_bytes, most_files)
    assert [one for split in splits for one in split.files] == files
    assert [split.index for split in splits] == list(range(len(splits)))
    for split in splits:
        assert 1 <= len(split.files) <= most_files
        assert len(split.files) == 1 or sum(one.bytes for one in split.files) <= most_bytes


@given(st.lists(st.integers(0, 30)), st.integers(1, 5), st.integers(1, 40))
def test_runs_hold_every_item_once_and_in_order(sizes: list[int], most_items: int, most_size: int):
    runs = list(cut(((number, size) for number, size in enumerate(sizes)), most_items, most_size))
    assert [item for run, _ in runs for item in run] == list(range(len(sizes)))
    assert [last for _, last in runs] == [False] * (len(runs) - 1) + [True]
    for run, _ in runs:
        assert len(run) <= most_items
        assert len(run) <= 1 or sum(sizes[item] for item in run) <= most_size


def test_names_sort_as_the_input_does_and_read_back():
    ids = [PartId(split, index) for split in (0, 2, 11) for index in (0, 9, 10)]
    assert sorted(id.name for id in ids) == [id.name for id in ids]
    assert [PartId.parse(id.name) for id in ids] == ids
    assert PartId.parse("part-1-2") is None and PartId.parse("job") is None


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_a_split_is_complete_exactly_when_all_its_parts_are_finished(parts: list[int], data: st.DataObject):
    splits = plan_splits([file(number, 1) for number in range(len(parts))], most_bytes=1)
    every = [(PartId(split, index), index == count - 1) for split, count in enumerate(parts) for index in range(count)]
    done = data.draw(st.lists(st.sampled_from(every), unique=True))
    finished = Finished.of(done)
    missing = {part.split for part, _ in every} & {part.split for part, last in every if (part, last) not in done}
    assert {split.index for split in finished.left(splits)} == missing


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_what_belongs_to_parts_comes_in_order_whenever_they_finish(sizes: list[int], data: st.DataObject):
    every = [(PartId(split, part), part == size - 1) for split, size in enumerate(sizes) for part in range(size)]
    before = data.draw(st.lists(st.sampled_from(every), unique=True))
    finished = Finished.of(before)
    left = [one for one in every if one not in before]
    in_order = PartsInOrder[PartId](finished.left([Split(split, ()) for split in range(len(sizes))]), finished)
    came: list[PartId] = []
    for count, (part, last) in enumerate(data.draw(st.permutations(left)), 1):
        came += in_order.add(part, last, part)
        assert came == [one for one, _ in left][: len(came)] and len(came) <= count
    assert came == [one for one, _ in left]
