"""Writes a .npy file row by row; the number of rows is known only at the end."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class VectorFile:
    """Writes to a file beside the target, and renames it at the end: the target is complete or does not appear."""

    def __init__(self, path: Path) -> None:
        """Opens the file; raises OSError."""
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._file = self._part.open("wb+")
        self._rows = 0
        self._kind: tuple[int, np.dtype[Any]] | None = None

    def __enter__(self) -> VectorFile:
        return self

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Adds rows of shape (n, dimension); all calls have the same dimension and type."""
        kind = (rows.shape[1], rows.dtype)
        if self._kind is None:
            self._kind = kind
            self._header()
        elif self._kind != kind:
            raise ValueError(f"rows of {kind} after rows of {self._kind}")
        self._file.write(rows.tobytes())
        self._rows += len(rows)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self._kind is not None:
                self._file.seek(0)
                self._header()
        finally:
            self._file.close()
        if kind is None and self._kind is not None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def _header(self) -> None:
        import numpy as np

        # NumPy pads the header so that the first axis can grow: its length does not depend on the number of rows.
        assert self._kind is not None
        dimension, dtype = self._kind
        descr = np.lib.format.dtype_to_descr(dtype)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": descr, "fortran_order": False, "shape": (self._rows, dimension)}
        )
