"""The folder next to the output with the state of an interrupted training: its settings, encoded corpus and checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.workers.runtime import LockHeld, error_line, lock_file, whole_file
from shoal.workers.training.word2vec.corpus.encoded_corpus import MANIFEST, EncodedCorpus
from shoal.workers.training.word2vec.errors import TrainingError, writing

WORK_SUFFIX = ".training"
_LOCK, _IDENTITY, _CORPUS, _CHECKPOINT = "lock", "training.json", "corpus", "checkpoint"


class WorkFolder:
    """Locked until closed or until this process ends: the kernel releases the lock then."""

    def __init__(self, output: Path) -> None:
        """Creates `<output>.training` if necessary. Raises TrainingError when that fails, or another process has locked
        it."""
        self._output = output
        self._removed = False
        self.path = output.absolute().with_name(output.name + WORK_SUFFIX)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(self.path / _LOCK)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be used: {error_line(error)}") from error
        except LockHeld as error:
            raise TrainingError(f"{output}: another training is running there (process {error.holder})") from None

    @property
    def corpus(self) -> Path:
        """The folder of the encoded corpus."""
        return self.path / _CORPUS

    @property
    def checkpoint(self) -> Path:
        """The path of the latest checkpoint."""
        return self.path / _CHECKPOINT

    def begin(self, identity: Mapping[str, Any], overwrite: bool) -> None:
        """Starts or resumes the training with this `identity` (JSON values by name).

        Raises TrainingError when there is a checkpoint of another training, unless `overwrite`, which starts over.
        """
        path = self.path / _IDENTITY
        identity = json.loads(json.dumps(identity))
        try:
            if overwrite:
                self.checkpoint.unlink(missing_ok=True)
            if self.checkpoint.exists():
                found = json.loads(path.read_bytes())
                for name in [*identity, *(set(found) - set(identity))]:
                    if (before := found.get(name)) != (now := identity.get(name)):
                        raise TrainingError(
                            f"{self.path}: contains an interrupted training with {name} {_brief(before)}, this one has "
                            f"{_brief(now)}; choose another output, or overwrite"
                        )
                return
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be used: {error_line(error)}") from error
        except (ValueError, AttributeError) as error:
            raise TrainingError(f"{path}: damaged; choose another output, or overwrite") from error
        with writing(path), whole_file(path) as file:
            file.write(json.dumps(identity).encode())

    def encoded_corpus(self, digest: str) -> EncodedCorpus | None:
        """The corpus that an earlier run encoded, if its digest is the same. Otherwise None, and the folder is empty."""
        try:
            found = EncodedCorpus.open(self.corpus)
            if found.digest == digest:
                return found
        except TrainingError:
            pass  # There is none, or it is incomplete.
        try:
            shutil.rmtree(self.corpus, ignore_errors=True)
            self.corpus.mkdir()
        except OSError as error:
            raise TrainingError(f"{self.corpus}: cannot be used: {error_line(error)}") from error
        return None

    def remove(self) -> None:
        """Deletes the folder, which is not needed any more. Other processes may create it again."""
        self._removed = True
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Releases the folder. Deletes it if there is nothing to resume from."""
        if not (self._removed or self.checkpoint.exists() or (self.corpus / MANIFEST).exists()):
            self.remove()
        self._lock.close()


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
