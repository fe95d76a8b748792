"""Models as they are named on the command line."""

from __future__ import annotations

from pathlib import Path


def whole_name(model: str) -> str:
    """The model by a name that means the same to the server, which runs in another folder: paths become absolute.

    A path begins with ./, ../ or ~, or there is such a file or folder. What other names mean is the server's to say.
    """
    name, at, precision = model.rpartition("@")
    if not at or Path(model).expanduser().exists():
        name, at, precision = model, "", ""
    if not name or name.startswith("/") or name.partition(":")[0] == "hashing":
        return model
    path = Path(name).expanduser()
    return f"{path.absolute()}{at}{precision}" if name.startswith(("./", "../", "~")) or path.exists() else model
