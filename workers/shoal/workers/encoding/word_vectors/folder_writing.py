"""Writes the folder of a trained table, which is a model that collections can use. What is in it is said by
`encoding.word_folder`, which reads it."""

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
    """Writes the model folder `output`; one that a training wrote before is replaced when the new one is whole.

    `output_vectors` (words, dim) is the other table of the training, kept for who wants to go on with it. Raises
    WordVectorError when the folder holds anything else, a word has no line of its own, or the disk is full: what was there
    before then stays as it was.
    """
    output = output.absolute()
    check_output_folder(output)
    check_table(output, table)
    if config.pooling is Pooling.SIF and (table.counts is None or not table.counts.any()):
        raise WordVectorError(f"{output}: pooling is sif, for which the table has no counts")
    place = output.resolve()
    partial = place.with_name(partial_name(place.name))
    _clear_remains(place)
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
            _put_in_place(partial, place)
            sync_folder(place.parent)


def check_output_folder(output: Path) -> None:
    """Raises WordVectorError unless `output` is absent, an empty folder, or a model folder of a training with nothing else
    in it. Call it before hours of training."""
    if not output.exists():
        return
    if not output.is_dir():
        raise WordVectorError(f"{output}: is a file, expected is a folder")
    try:
        held = set(os.listdir(output))
    except OSError as error:
        raise WordVectorError(f"{output}: cannot be read: {error_line(error)}") from error
    if held and not is_word_folder(output):
        raise WordVectorError(f"{output}: holds files that are no trained word vectors, and is not replaced")
    if foreign := sorted(held - _FILES):
        raise WordVectorError(f"{output}: holds {foreign[0]!r} beside a model, and is not replaced")


def _clear_remains(place: Path) -> None:
    """Removes what processes that were killed left half written; who lives holds a lock."""
    for remains in partial_siblings(place):
        with suppress(OSError, LockHeld), locked_folder(remains):
            if set(os.listdir(remains)) <= _FILES:
                shutil.rmtree(remains, ignore_errors=True)


def _write_tensor(file: IO[bytes], name: str, rows: npt.NDArray[np.float32]) -> None:
    """As safetensors has it; its own writer wants the rows copied together, and all of the file in memory."""
    told = {"dtype": "F32", "shape": list(rows.shape), "data_offsets": [0, 4 * rows.size]}
    header = json.dumps({name: told}).encode()
    # Blanks may follow; so the numbers begin where a mapped line of the cache does.
    header = header.ljust(len(header) + -(8 + len(header)) % _HEADER_ALIGNMENT)
    file.write(len(header).to_bytes(8, "little") + header)
    write_rows(file, rows)


def _put_in_place(new: Path, place: Path) -> None:
    """Gives the folder `new` the name `place`; a folder that had it gets the name of `new`."""
    if not place.exists():
        new.rename(place)
    elif not _exchanged(new, place):
        old = new.with_name(new.name + ".old")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        old.rename(new)


def _exchanged(one: Path, other: Path) -> bool:
    """Swaps two names in a single step, so that there is a model at every moment; False where the system cannot."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None:
        return False
    if swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code))
