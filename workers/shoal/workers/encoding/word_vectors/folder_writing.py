"""Writes the folder of a trained table, which collections can use as a model. `word_folder` reads it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.word_vectors.file_writing import check_table, vocabulary_lines, write_rows
from shoal.workers.encoding.word_vectors.word_folder import (
    CONFIG_FILE,
    OUTPUT_FILE,
    OUTPUT_TENSOR,
    VECTORS_FILE,
    VECTORS_TENSOR,
    VOCABULARY_FILE,
    Pooling,
    WordFolderConfig,
    is_word_folder,
)
from shoal.workers.encoding.word_vectors.word_table import WordTable
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError, writing_vectors
from shoal.workers.runtime import LockHeld, error_line, locked_folder, partial_name, partial_siblings, sync_folder

_FILES = {CONFIG_FILE, VECTORS_FILE, OUTPUT_FILE, VOCABULARY_FILE}
_HEADER_ALIGNMENT = 64
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def save_word_folder(
    output: Path, table: WordTable, config: WordFolderConfig, output_vectors: npt.NDArray[np.float32] | None = None
) -> None:
    """Writes the model folder `output`. A model folder of an earlier training is replaced once the new one is complete.

    `output_vectors` (words, dim) float32 is the output table of the training, kept for continuing it. Raises
    WordVectorError when the folder has other files, the table is invalid (see `check_table`), or the disk is full; the old
    folder then stays.
    """
    output = output.absolute()
    check_output_folder(output)
    check_table(output, table)
    if config.pooling is Pooling.SIF and (table.counts is None or not table.counts.any()):
        raise WordVectorError(f"{output}: pooling sif needs counts, and the table has none")
    target = output.resolve()
    partial = target.with_name(partial_name(target.name))
    _remove_leftovers(target)
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, partial, ignore_errors=True)
        with writing_vectors(output):
            partial.mkdir(parents=True)
            ends.enter_context(locked_folder(partial))
        contents: dict[str, Callable[[IO[bytes]], object]] = {
            VECTORS_FILE: lambda file: _write_tensor(file, VECTORS_TENSOR, table.vectors),
            VOCABULARY_FILE: lambda file: file.write(vocabulary_lines(table.words, table.counts)),
            CONFIG_FILE: lambda file: file.write(config.to_json(*table.vectors.shape)),
        }
        if output_vectors is not None:
            contents[OUTPUT_FILE] = lambda file: _write_tensor(file, OUTPUT_TENSOR, output_vectors)
        for name, write in contents.items():
            with writing_vectors(output / name), (partial / name).open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        with writing_vectors(output):
            sync_folder(partial)
            _replace_folder(partial, target)
            sync_folder(target.parent)


def check_output_folder(output: Path) -> None:
    """Raises WordVectorError unless `output` does not exist, is an empty folder, or a model folder of a training without
    other files. Call it before hours of training."""
    if not output.exists():
        return
    if not output.is_dir():
        raise WordVectorError(f"{output}: is a file, expected a folder")
    try:
        found = set(os.listdir(output))
    except OSError as error:
        raise WordVectorError(f"{output}: cannot be read: {error_line(error)}") from error
    if found and not is_word_folder(output):
        raise WordVectorError(f"{output}: not replaced, it has files that are not trained word vectors")
    if foreign := sorted(found - _FILES):
        raise WordVectorError(f"{output}: not replaced, it has {foreign[0]!r}, which does not belong to a model")


def _remove_leftovers(target: Path) -> None:
    """Removes incomplete folders of killed processes; running processes hold a lock on theirs."""
    for leftover in partial_siblings(target):
        with suppress(OSError, LockHeld), locked_folder(leftover):
            if set(os.listdir(leftover)) <= _FILES:
                shutil.rmtree(leftover, ignore_errors=True)


def _write_tensor(file: IO[bytes], name: str, rows: npt.NDArray[np.float32]) -> None:
    """Writes a safetensors file; the writer of safetensors copies the rows and keeps the whole file in memory."""
    entry = {"dtype": "F32", "shape": list(rows.shape), "data_offsets": [0, 4 * rows.size]}
    header = json.dumps({name: entry}).encode()
    # A header may end in spaces; these align the numbers to cache lines.
    header = header.ljust(len(header) + -(8 + len(header)) % _HEADER_ALIGNMENT)
    file.write(len(header).to_bytes(8, "little") + header)
    write_rows(file, rows)


def _replace_folder(new: Path, target: Path) -> None:
    """Renames the folder `new` to `target`; a folder that was there gets the name of `new`."""
    if not target.exists():
        new.rename(target)
    elif not _exchanged(new, target):
        old = new.with_name(new.name + ".old")
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        old.rename(new)


def _exchanged(one: Path, other: Path) -> bool:
    """Swaps two names atomically, so that there is a model at every moment; False if the system cannot."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None:
        return False
    if swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code))
