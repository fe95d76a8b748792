"""A file is written as a whole or not at all, and leftovers of a killed writer have other names."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shoal.workers.runtime.durable_files import is_partial, partial_name, partial_siblings, whole_file


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert [sibling.read_bytes() for sibling in partial_siblings(path)] == [b"new"]
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_the_old_file_stays_when_the_block_raises(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error), whole_file(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "absent" / "a"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), whole_file(tmp_path / "folder"):
        pass
    assert os.listdir(tmp_path) == ["folder"]


def test_the_mode_holds_from_the_first_byte(tmp_path: Path) -> None:
    with whole_file(tmp_path / "secret", mode=0o600) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_names_of_partial_files_belong_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1]"
    left = tmp_path / partial_name("a[1]")
    for file in (left, tmp_path / partial_name("a[1].b"), tmp_path / partial_name("a1")):
        file.touch()
        assert is_partial(file.name)
    assert partial_siblings(path) == [left]
    assert not is_partial("a[1]")


@pytest.mark.parametrize(("durable", "synced"), [(True, 2), (False, 0)])
def test_a_durable_file_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, synced: int
) -> None:
    handles: list[int] = []
    monkeypatch.setattr(os, "fsync", handles.append)
    with whole_file(tmp_path / "a", durable):
        pass
    assert len(handles) == synced, "the content, and the name in its folder"
