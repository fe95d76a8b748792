"""A model folder is replaced as a whole or not at all, and no other folder is replaced."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shoal.workers.encoding.word_vectors import folder_writing as word_folder
from shoal.workers.encoding.word_vectors.folder_writing import save_word_folder
from shoal.workers.encoding.word_vectors.saving import TableFormat, save_table
from shoal.workers.encoding.word_vectors.word_folder import Pooling, WordFolderConfig
from shoal.workers.encoding.word_vectors.word_table import WordTable, read_word_table
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError
from support.training.trained_tables import trained_table

safetensors = pytest.importorskip("safetensors.numpy")
FILES = {"config.json", "model.safetensors", "vocabulary.txt"}


def vectors_in(folder: Path) -> list[list[float]]:
    return read_word_table(folder).vectors.tolist()


def test_safetensors_reads_both_tables(tmp_path: Path) -> None:
    table, other = trained_table(), trained_table(8)
    save_word_folder(tmp_path / "m", table, WordFolderConfig(training={"epochs": 5}), other.vectors)
    np.testing.assert_array_equal(safetensors.load_file(tmp_path / "m" / "model.safetensors")["input"], table.vectors)
    np.testing.assert_array_equal(safetensors.load_file(tmp_path / "m" / "output.safetensors")["output"], other.vectors)
    assert {path.name for path in (tmp_path / "m").iterdir()} == FILES | {"output.safetensors"}


def test_a_new_model_takes_the_place_of_the_old_one_and_of_all_its_files(tmp_path: Path) -> None:
    save_word_folder(tmp_path / "m", trained_table(1), WordFolderConfig(), trained_table(1).vectors)
    new = trained_table(2, dim=3, words=("one", "two"))
    save_word_folder(tmp_path / "m", new, WordFolderConfig())
    assert {path.name for path in (tmp_path / "m").iterdir()} == FILES
    assert vectors_in(tmp_path / "m") == new.vectors.tolist()
    assert os.listdir(tmp_path) == ["m"]


def test_a_process_that_has_mapped_the_old_vectors_keeps_them(tmp_path: Path) -> None:
    old = trained_table(1)
    save_word_folder(tmp_path / "m", old, WordFolderConfig())
    mapped = read_word_table(tmp_path / "m").vectors
    save_word_folder(tmp_path / "m", trained_table(2), WordFolderConfig())
    np.testing.assert_array_equal(mapped, old.vectors)


def test_a_link_to_the_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    table = trained_table()
    save_word_folder(tmp_path / "link", table, WordFolderConfig())
    assert (tmp_path / "link").is_symlink()
    assert vectors_in(tmp_path / "real") == table.vectors.tolist()


def test_where_names_cannot_be_swapped_the_old_folder_steps_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_folder, "_exchanged", lambda one, other: False)
    for seed in (1, 2):
        save_word_folder(tmp_path / "m", trained_table(seed), WordFolderConfig())
        assert vectors_in(tmp_path / "m") == trained_table(seed).vectors.tolist()
        assert os.listdir(tmp_path) == ["m"]


def test_an_old_folder_that_stepped_aside_comes_back_when_the_new_one_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_word_folder(tmp_path / "m", trained_table(1), WordFolderConfig())
    rename, calls = Path.rename, 0

    def second_fails(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(word_folder, "_exchanged", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(WordVectorError, match="m: cannot be written: Input/output error"):
        save_word_folder(tmp_path / "m", trained_table(2), WordFolderConfig())
    assert vectors_in(tmp_path / "m") == trained_table(1).vectors.tolist()
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize("kept", ["", "notes.txt", ".git"])
def test_a_folder_with_anything_else_in_it_is_left_alone(kept: str, tmp_path: Path) -> None:
    if kept:
        save_word_folder(tmp_path / "m", trained_table(1), WordFolderConfig())
    else:
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "config.json").write_text('{"model_type": "bert"}')
    if kept:
        (tmp_path / "m" / kept).write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    with pytest.raises(WordVectorError) as caught:
        save_word_folder(tmp_path / "m", trained_table(2), WordFolderConfig())
    reason = f"{kept!r}, which does not belong to a model" if kept else "files that are not trained word vectors"
    assert str(caught.value) == f"{tmp_path / 'm'}: not replaced, it has {reason}"
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before


def test_sif_without_counts_is_refused(tmp_path: Path) -> None:
    table = dataclasses.replace(trained_table(), counts=None)
    with pytest.raises(WordVectorError, match="pooling sif needs counts, and the table has none"):
        save_word_folder(tmp_path / "m", table, WordFolderConfig(pooling=Pooling.SIF))
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from shoal.workers.encoding.word_vectors.word_folder import WordFolderConfig
from shoal.workers.encoding.word_vectors.word_table import WordTable
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError
from shoal.workers.encoding.word_vectors.saving import TableFormat, save_table

limit = 64 << 10
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
long, wide = ("w" * 40 + str(n) for n in range(3000)), (str(n) for n in range(3000))
for form, name, words, dim in [
    ("folder", "model", wide, 100), ("folder", "model", long, 2), ("text", "w.txt", None, 100),
    ("binary", "w.bin", None, 100), ("npy", "w.npy", None, 100),
]:
    words = tuple(words or map(str, range(3000)))
    table = WordTable(words, np.ones((3000, dim), dtype=np.float32), np.ones(3000, dtype=np.int64))
    try:
        save_table(Path(sys.argv[1], name), table, TableFormat(form), WordFolderConfig())
    except WordVectorError as error:
        print(error)
"""


def test_when_the_disk_is_full_the_old_model_stays_in_every_form(tmp_path: Path) -> None:
    """In a process of its own that may write no file beyond 64 KiB: the same error paths as a full disk's."""
    names = {"folder": "model", "text": "w.txt", "binary": "w.bin", "npy": "w.npy"}
    for form, name in names.items():
        save_table(tmp_path / name, trained_table(), TableFormat(form), WordFolderConfig())
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    ran = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60)
    files = ["model/model.safetensors", "model/vocabulary.txt", "w.txt", "w.bin", "w.npy"]
    assert ran.stdout.splitlines() == [f"{tmp_path / file}: cannot be written: File too large" for file in files], ran.stderr
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    for name in names.values():
        assert vectors_in(tmp_path / name) == trained_table().vectors.tolist()


def test_a_process_killed_while_it_saves_leaves_the_old_model(tmp_path: Path) -> None:
    old = trained_table(1)
    save_word_folder(tmp_path / "m", old, WordFolderConfig())
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from shoal.workers.encoding.word_vectors import folder_writing as word_folder\n"
        "from support.training.trained_tables import trained_table\n"
        "word_folder._replace_folder = lambda new, place: os.kill(os.getpid(), signal.SIGKILL)\n"
        "word_folder.save_word_folder(Path(sys.argv[1]), trained_table(2), word_folder.WordFolderConfig())\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path / "m")], env=path, timeout=60)
    assert ran.returncode == -9
    assert vectors_in(tmp_path / "m") == old.vectors.tolist()
    assert len(os.listdir(tmp_path)) == 2
    new = WordTable(("one",), np.ones((1, 2), dtype=np.float32), None)
    save_word_folder(tmp_path / "m", new, WordFolderConfig())
    assert vectors_in(tmp_path / "m") == [[1, 1]]
    assert os.listdir(tmp_path) == ["m"], "files of the killed process are deleted"


def test_files_that_another_process_is_writing_are_not_deleted(tmp_path: Path) -> None:
    other = tmp_path / "m.12345678.partial"
    other.mkdir()
    held = os.open(other, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    save_word_folder(tmp_path / "m", trained_table(), WordFolderConfig())
    assert other.is_dir()
    os.close(held)
    save_word_folder(tmp_path / "m", trained_table(), WordFolderConfig())
    assert not other.exists()
