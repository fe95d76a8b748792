"""The file that an interrupted training goes on from. What it belongs to is checked by `work_folder`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shoal.workers.runtime import error_line, whole_file
from shoal.workers.training.word2vec.errors import TrainingError, writing
from shoal.workers.training.word2vec.run.schedule import ScheduleState
from shoal.workers.training.word2vec.tables import Tables

CHECKPOINT_EVERY_S = 60.0
LARGEST_SHARE = 0.05
"""Of the time, at most about this share goes into writing checkpoints."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment at which all learners agreed."""

    state: ScheduleState
    tables: Tables
    digest: str
    """Of the vocabulary whose words the rows are."""

    def write(self, path: Path) -> None:
        """Puts it in place of an older one. Raises TrainingError when it cannot be written, and the older one stays."""
        told = {"state": self.state.to_json(), "dim": self.tables.dim, "vocabulary": self.digest}
        with writing(path), whole_file(path) as file:
            for array in (np.frombuffer(json.dumps(told).encode(), dtype=np.uint8), self.tables.input, self.tables.output):
                # As numpy.save does, which does not say why it could not.
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                file.write(np.ascontiguousarray(array).data)

    @staticmethod
    def read(path: Path, digest: str, count: int, dim: int) -> Checkpoint | None:
        """The one that is there, if any.

        Raises TrainingError when it is damaged, or not of `count` words with `dim` numbers and this vocabulary.
        """
        try:
            with open(path, "rb") as file:
                told, first, second = (np.load(file, allow_pickle=False) for _ in range(3))
            values = json.loads(told.tobytes())
            found = Checkpoint(
                ScheduleState.from_json(values["state"]), Tables(int(values["dim"]), first, second), values["vocabulary"]
            )
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path}: the checkpoint cannot be read ({error_line(error)}); begin anew with overwrite"
            ) from error
        expected = Tables.empty(0, dim).input.shape[1]
        shapes = {first.shape, second.shape}
        if found.digest != digest or found.tables.dim != dim or shapes != {(count, expected)}:
            raise TrainingError(f"{path}: the checkpoint is of another vocabulary or dim; begin anew with overwrite")
        return found


def is_due(now_s: float, last_s: float, wrote_for_s: float, every_s: float = CHECKPOINT_EVERY_S) -> bool:
    """Whether it is time for the next one, after one that was done at `last_s` and took `wrote_for_s`."""
    return now_s - last_s >= max(every_s, wrote_for_s / LARGEST_SHARE)
