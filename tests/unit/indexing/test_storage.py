"""Files are complete or absent, and damage is distinguished from an unreachable storage."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from shoal.workers.indexing.files.garbage import collect_garbage
from shoal.workers.indexing.files.storage import DamagedFile, Storage


def test_written_files_are_read_back(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "not" / "yet"))
    storage.create_root()
    checksum = storage.write("1/2/a.arrow", b"abc")
    assert len(checksum) == 64
    assert storage.read("1/2/a.arrow", checksum).to_pybytes() == b"abc"
    assert [(file.path, file.bytes) for file in storage.list("1")] == [("1/2/a.arrow", 3)]


def test_uris_work_like_folders(tmp_path: Path) -> None:
    for root in (f"file://{tmp_path}", "mock:///shoal"):
        storage = Storage(root)
        checksum = storage.write("1/2/a.arrow", b"abc")
        assert storage.read("1/2/a.arrow", checksum).to_pybytes() == b"abc"
        assert [file.path for file in storage.list("1")] == ["1/2/a.arrow"]
        storage.delete("1/2/a.arrow")
        storage.delete("1/2/a.arrow")
        assert storage.list("1") == []
        with pytest.raises(DamagedFile, match="missing"):
            storage.read("1/2/a.arrow", checksum)


@pytest.mark.parametrize("damage", [b"abd", b"ab", b"abcd", b""])
def test_other_bytes_are_a_wrong_checksum(tmp_path: Path, damage: bytes) -> None:
    storage = Storage(str(tmp_path))
    checksum = storage.write("1/a", b"abc")
    (tmp_path / "1" / "a").write_bytes(damage)
    with pytest.raises(DamagedFile) as caught:
        storage.read("1/a", checksum)
    assert caught.value.reason == "checksum"


def test_an_unreachable_storage_is_not_damage(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "mount"))
    storage.create_root()
    checksum = storage.write("1/a", b"abc")
    (tmp_path / "mount").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"storage root .* does not exist"):
        storage.read("1/a", checksum)


def test_a_root_that_was_moved_away_is_not_made_again_by_a_write(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "mount"))
    with pytest.raises(OSError, match=r"storage root .* does not exist"):
        storage.write("1/a", b"abc")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.write("1/a", b"abc")
    assert storage.list("1") == []


def test_a_file_has_no_name_before_its_bytes_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    seen: list[bool] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append((tmp_path / "1" / "a").exists()), real(handle)))
    storage.write("1/a", b"abc")
    # The file itself, then its folder and the folder above, which has a new entry too.
    assert seen == [False, True, True]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "1/../../a"])
def test_paths_stay_below_the_root(tmp_path: Path, path: str) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(ValueError, match="below the storage root"):
        storage.write(path, b"abc")
    with pytest.raises(ValueError, match="below the storage root"):
        storage.read(path, "")


def test_damage_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DamagedFile("1/a", "unreadable", "no magic")))
    assert (error.path, error.reason, str(error)) == ("1/a", "unreadable", "file 1/a is damaged: unreadable (no magic)")


def test_collect_deletes_only_old_files_that_nothing_names(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for path in ("1/0/named", "1/0/old", "1/3/young", "2/0/other", "10/0/other"):
        storage.write(path, b"abc")
        os.utime(tmp_path / path, (1000, 1990 if path.endswith("young") else 1000))
    assert collect_garbage(storage, 1, {"1/0/named"}, now_s=2000, grace_s=60) == ["1/0/old"]
    # Without a grace period files go even if the storage's clock is ahead of ours.
    assert collect_garbage(storage, 1, set(), now_s=1500, grace_s=0) == ["1/0/named", "1/3/young"]
    assert collect_garbage(storage, 1, set(), now_s=2000, grace_s=0) == []
    assert [file.path for file in storage.list("2") + storage.list("10")] == ["2/0/other", "10/0/other"]
