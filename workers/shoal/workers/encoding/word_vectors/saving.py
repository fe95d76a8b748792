"""Writes a trained table in the requested format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shoal.workers.encoding.word_vectors.file_writing import check_array_name, write_array, write_word2vec
from shoal.workers.encoding.word_vectors.folder_writing import check_output_folder, save_word_folder
from shoal.workers.encoding.word_vectors.word_folder import WordFolderConfig
from shoal.workers.encoding.word_vectors.word_table import WordTable
from shoal.workers.encoding.word_vectors.word_vector_error import WordVectorError, writing_vectors


class TableFormat(StrEnum):
    """The formats of a table on disk."""

    FOLDER = "folder"
    """A model that collections can use (see `word_folder`)."""
    TEXT = "text"
    """word2vec's text format."""
    BINARY = "binary"
    """word2vec's binary format."""
    NPY = "npy"
    """An array that can be memory-mapped, NAME.npy, and its words in NAME.vocab."""


def check_output(output: Path, form: TableFormat) -> None:
    """Raises WordVectorError when `save_table` would not replace `output`, or its name does not fit the format."""
    if form is TableFormat.FOLDER:
        check_output_folder(output)
        return
    if output.is_dir():
        raise WordVectorError(f"{output}: is a folder, expected a file")
    if form is TableFormat.NPY:
        check_array_name(output)


def save_table(
    output: Path,
    table: WordTable,
    form: TableFormat,
    config: WordFolderConfig,
    output_vectors: npt.NDArray[np.float32] | None = None,
) -> None:
    """Writes `table` to the file or folder `output`; `config` and `output_vectors` (words, dim) float32 only to a folder.

    An old file or folder is replaced once the new one is complete, and stays if anything fails. Raises WordVectorError.
    """
    check_output(output, form)
    if form is TableFormat.FOLDER:
        save_word_folder(output, table, config, output_vectors)
        return
    with writing_vectors(output):
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
    if form is TableFormat.NPY:
        write_array(output, table)
    else:
        write_word2vec(output, table, binary=form is TableFormat.BINARY)
