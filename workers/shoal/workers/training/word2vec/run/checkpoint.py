"""The file from which an interrupted training resumes. `work_folder` checks to which training it belongs."""

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
"""Largest share of the time that goes into writing checkpoints, approximately."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after a merge of all rows."""

    state: ScheduleState
    tables: Tables
    digest: str
    """Digest of the vocabulary of the tables."""

    def write(self, path: Path) -> None:
        """Replaces an older checkpoint. Raises TrainingError when it cannot be written; the older one is kept then."""
        header = {"state": self.state.to_json(), "dim": self.tables.dim, "vocabulary": self.digest}
        with writing(path), whole_file(path) as file:
            for array in (np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), self.tables.input, self.tables.output):
                # As numpy.save, whose errors do not give the reason.
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                file.write(np.ascontiguousarray(array).data)

    @staticmethod
    def read(path: Path, digest: str, count: int, dim: int) -> Checkpoint | None:
        """The checkpoint at `path`, None if there is none.

        Raises TrainingError when it is damaged, or not of `count` words with `dim` dimensions and this vocabulary.
        """
        try:
            with open(path, "rb") as file:
                header, first, second = (np.load(file, allow_pickle=False) for _ in range(3))
            values = json.loads(header.tobytes())
            found = Checkpoint(
                ScheduleState.from_json(values["state"]), Tables(int(values["dim"]), first, second), values["vocabulary"]
            )
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path}: the checkpoint cannot be read ({error_line(error)}); start over with overwrite"
            ) from error
        expected = Tables.empty(0, dim).input.shape[1]
        shapes = {first.shape, second.shape}
        if found.digest != digest or found.tables.dim != dim or shapes != {(count, expected)}:
            raise TrainingError(f"{path}: the checkpoint has another vocabulary or dim; start over with overwrite")
        return found


def is_due(now_s: float, last_s: float, wrote_for_s: float, every_s: float = CHECKPOINT_EVERY_S) -> bool:
    """Whether it is time for the next checkpoint, if the last one was finished at `last_s` and took `wrote_for_s`."""
    return now_s - last_s >= max(every_s, wrote_for_s / LARGEST_SHARE)
