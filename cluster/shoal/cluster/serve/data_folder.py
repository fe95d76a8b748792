"""The data folder of a cluster: who has it, its secret, its name, and where ledger and vectors lie in it."""

import json
import os
import secrets
import stat
from pathlib import Path

from shoal.cluster.ledger.connection import sqlite_url
from shoal.workers.runtime import LockHeld, error_line, lock_file, partial_siblings, whole_file

LOCK = "shoal.lock"
IDENTITY = "cluster.json"
LEDGER = "ledger.sqlite"
VECTORS = "vectors"


class DataFolderError(Exception):
    """The folder cannot be used; the message is one line and says why."""


class DataFolder:
    """Holds a data folder until closed or until this process ends, however it ends: the kernel drops the lock."""

    def __init__(self, path: Path) -> None:
        """Makes the folder if need be and locks it.

        Raises DataFolderError when it cannot be made, read or written, or when another process has it.
        """
        self.path = path.absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _keep_private(self.path)
            if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
            self._lock = lock_file(self.path / LOCK)
        except OSError as error:
            raise DataFolderError(f"data folder {self.path}: {error_line(error)}") from error
        except LockHeld as error:
            raise DataFolderError(
                f"data folder {self.path}: in use by another shoal serve (process {error.holder});"
                " stop it or give another --data"
            ) from None
        try:
            self.name, self.secret = self._identity()
        except BaseException:
            self.close()
            raise

    @property
    def ledger_url(self) -> str:
        """URL of the SQLite ledger in the folder."""
        return sqlite_url(self.path / LEDGER)

    @property
    def storage_root(self) -> str:
        """Folder of segments and sealed indexes; raises DataFolderError when it cannot be made."""
        vectors = self.path / VECTORS
        try:
            vectors.mkdir(exist_ok=True)
            _keep_private(vectors)
        except OSError as error:
            raise DataFolderError(f"data folder {self.path}: {VECTORS}: {error_line(error)}") from error
        return str(vectors)

    def close(self) -> None:
        """Lets another process have the folder."""
        self._lock.close()

    def _identity(self) -> tuple[str, str]:
        """The cluster's name and secret, made once; only the owner may read them."""
        path = self.path / IDENTITY
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return str(held["name"]), str(held["secret"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataFolderError(f"data folder {self.path}: {IDENTITY} cannot be read ({error})") from error
        name, secret = f"shoal-{secrets.token_hex(6)}", secrets.token_hex(32)
        try:
            for left_by_a_crash in partial_siblings(path):
                left_by_a_crash.unlink()
            with whole_file(path, mode=0o600) as file:
                file.write(json.dumps({"name": name, "secret": secret}).encode())
        except OSError as error:
            raise DataFolderError(f"data folder {self.path}: {error_line(error)}") from error
        return name, secret


def _keep_private(folder: Path) -> None:
    """Only the owner may look into it: documents lie there as they were written. Raises OSError."""
    # A folder of another owner that this process may write to stays as it is.
    held = folder.stat()
    if held.st_uid == os.geteuid():
        folder.chmod(stat.S_IMODE(held.st_mode) & 0o700)
