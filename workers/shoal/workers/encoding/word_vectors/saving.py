"""Writes a trained table in the form that is asked for. How each form looks is said by its own module."""

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
    """The forms of a table on disk."""

    FOLDER = "folder"
    """A model that collections can use (see `word_folder`)."""
    TEXT = "text"
    """word2vec's text."""
    BINARY = "binary"
    """word2vec's binary."""
    NPY = "npy"
    """An array that can be mapped, NAME.npy, and its words in NAME.vocab."""


def check_output(output: Path, form: TableFormat) -> None:
    """Raises WordVectorError when `output` is something that `save_table` would not replace, or cannot be named so."""
    if form is TableFormat.FOLDER:
        check_output_folder(output)
        return
    if output.is_dir():
        raise WordVectorError(f"{output}: is a folder, expected is a file")
    if form is TableFormat.NPY:
        check_array_name(output)


def save_table(
    output: Path,
    table: WordTable,
    form: TableFormat,
    config: WordFolderConfig,
    output_vectors: npt.NDArray[np.float32] | None = None,
) -> None:
    """Writes `table` to the file or folder `output`; `config` and `output_vectors` (words, dim) go into a folder alone.

    What was there before is replaced when the new is whole, and stays when anything fails. Raises WordVectorError.
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
