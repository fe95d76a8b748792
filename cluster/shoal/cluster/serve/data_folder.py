"""The data folder of a cluster: its lock, the cluster's name and secret, and the paths of ledger and vectors."""

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
    """The folder cannot be used. The message is one line."""


class DataFolder:
    """A data folder, locked until closed or until this process ends: the kernel releases the lock then."""

    def __init__(self, path: Path) -> None:
        """Creates the folder if necessary, and locks it.

        Raises DataFolderError when it cannot be created, read or written, or when another process has locked it.
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
                " stop it, or choose another --data"
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
        """Folder of segments and sealed indexes. Raises DataFolderError when it cannot be created."""
        vectors = self.path / VECTORS
        try:
            vectors.mkdir(exist_ok=True)
            _keep_private(vectors)
        except OSError as error:
            raise DataFolderError(f"data folder {self.path}: {VECTORS}: {error_line(error)}") from error
        return str(vectors)

    def close(self) -> None:
        """Releases the folder for other processes."""
        self._lock.close()

    def _identity(self) -> tuple[str, str]:
        """The cluster's name and secret, which are made once. Only the owner may read them."""
        path = self.path / IDENTITY
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return str(values["name"]), str(values["secret"])
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
    """Lets only the owner read the folder: it contains documents in plain text. Raises OSError."""
    # The permissions of a folder with another owner are left alone.
    status = folder.stat()
    if status.st_uid == os.geteuid():
        folder.chmod(stat.S_IMODE(status.st_mode) & 0o700)
