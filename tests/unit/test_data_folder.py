"""The data folder: one process at a time, however it ends; a stable name and secret; errors of one line."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cluster.serve.data_folder import IDENTITY, DataFolder, DataFolderError

HOLD = "import sys, time; from pathlib import Path; from shoal.cluster.serve.data_folder import DataFolder\n"
HOLD += "folder = DataFolder(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


def refusal(path: Path) -> str:
    with pytest.raises(DataFolderError) as caught:
        DataFolder(path).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_process_is_refused_until_the_holder_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        said = refusal(tmp_path)
        assert said.startswith(f"data folder {tmp_path}: in use by another shoal serve (process {holder.pid})")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=10)
    DataFolder(tmp_path).close()


def test_one_process_cannot_lock_it_twice(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert f"(process {os.getpid()})" in refusal(tmp_path)
    folder.close()
    DataFolder(tmp_path).close()


def test_the_identity_is_created_once_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "new" / "folder")
    first.close()
    again = DataFolder(tmp_path / "new" / "folder")
    again.close()
    other = DataFolder(tmp_path / "other")
    other.close()
    assert (first.name, first.secret) == (again.name, again.secret)
    assert first.name != other.name and first.secret != other.secret
    assert first.name.startswith("shoal-") and len(first.secret) == 64
    assert stat.S_IMODE((first.path / IDENTITY).stat().st_mode) == 0o600
    assert sorted(path.name for path in first.path.iterdir()) == [IDENTITY, "shoal.lock"]


def test_a_crash_while_the_identity_is_created_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "cluster.json.0badcafe.partial").write_text("{", encoding="utf-8")
    folder = DataFolder(tmp_path)
    folder.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [IDENTITY, "shoal.lock"]
    assert json.loads((tmp_path / IDENTITY).read_text(encoding="utf-8")) == {"name": folder.name, "secret": folder.secret}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "x"}', b"\xff\xff"])
def test_a_damaged_identity_is_reported_and_the_lock_released(tmp_path: Path, content: bytes) -> None:
    (tmp_path / IDENTITY).write_bytes(content)
    assert refusal(tmp_path).startswith(f"data folder {tmp_path}: {IDENTITY} cannot be read (")
    (tmp_path / IDENTITY).unlink()
    DataFolder(tmp_path).close()


def test_a_file_instead_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file") == f"data folder {tmp_path / 'file'}: File exists"
    assert refusal(tmp_path / "file" / "below").endswith("Not a directory")


def test_paths_in_the_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.ledger_url.endswith(f"{tmp_path}/ledger.sqlite")
    assert Path(folder.storage_root) == tmp_path / "vectors" and (tmp_path / "vectors").is_dir()
    (tmp_path / "vectors").rmdir()
    (tmp_path / "vectors").write_text("")
    with pytest.raises(DataFolderError, match=r"vectors: File exists$"):
        _ = folder.storage_root
    folder.close()


def test_other_users_cannot_read_it(tmp_path: Path) -> None:
    """Neither a new folder nor one that an older version made readable."""
    old = tmp_path / "old"
    (old / "vectors").mkdir(parents=True)
    for path in (old, old / "vectors"):
        path.chmod(0o755)
    for path in (old, tmp_path / "new"):
        folder = DataFolder(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(folder.storage_root).stat().st_mode) == 0o700
        folder.close()
