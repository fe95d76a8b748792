"""The folder beside its output that an interrupted training goes on from: what it is, encoded corpus, checkpoint."""

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
    """Held until closed or until this process ends, however it ends: the kernel drops the lock."""

    def __init__(self, output: Path) -> None:
        """Makes `<output>.training` if need be; raises TrainingError when that fails, or another process holds it."""
        self._output = output
        self._removed = False
        self.path = output.absolute().with_name(output.name + WORK_SUFFIX)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(self.path / _LOCK)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be used: {error_line(error)}") from error
        except LockHeld as error:
            raise TrainingError(f"{output}: another training is at work there (process {error.holder})") from None

    @property
    def corpus(self) -> Path:
        """Where the encoded corpus is, or will be."""
        return self.path / _CORPUS

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint is, or will be."""
        return self.path / _CHECKPOINT

    def begin(self, identity: Mapping[str, Any], overwrite: bool) -> None:
        """Makes the folder that of the training `identity` (values of JSON by what they are called).

        Raises TrainingError when another training has left a checkpoint there, unless `overwrite`, which begins anew.
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
                            f"{self.path}: holds an interrupted training with {name} {_brief(before)}, this one has "
                            f"{_brief(now)}; choose another output, or overwrite"
                        )
                return
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be used: {error_line(error)}") from error
        except (ValueError, AttributeError) as error:
            raise TrainingError(f"{path}: is damaged; choose another output, or overwrite") from error
        with writing(path), whole_file(path) as file:
            file.write(json.dumps(identity).encode())

    def encoded_corpus(self, digest: str) -> EncodedCorpus | None:
        """The one that an earlier run made, if it was made of the same; else its folder is empty, to be made there."""
        try:
            found = EncodedCorpus.open(self.corpus)
            if found.digest == digest:
                return found
        except TrainingError:
            pass  # There is none, or not the whole of it.
        try:
            shutil.rmtree(self.corpus, ignore_errors=True)
            self.corpus.mkdir()
        except OSError as error:
            raise TrainingError(f"{self.corpus}: cannot be used: {error_line(error)}") from error
        return None

    def remove(self) -> None:
        """Nothing in it is of use any more. For others it is then as if it were not held."""
        self._removed = True
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Lets another process have it; nothing is left where there is nothing to go on from."""
        if not (self._removed or self.checkpoint.exists() or (self.corpus / MANIFEST).exists()):
            self.remove()
        self._lock.close()


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
