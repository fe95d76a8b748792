"""Models as they are named on the command line."""

from __future__ import annotations

from pathlib import Path


def absolute_model_name(model: str) -> str:
    """The model by a name that means the same in any folder, so to a server or a Ray worker: paths become absolute.

    A path begins with /, ./, ../ or ~, or there is such a file or folder. Other names are not checked here.
    """
    name, at, precision = model.rpartition("@")
    if not at or Path(model).expanduser().exists():
        name, at, precision = model, "", ""
    if not name or name.partition(":")[0] == "hashing":
        return model
    path = Path(name).expanduser()
    return f"{path.absolute()}{at}{precision}" if name.startswith(("/", "./", "../", "~")) or path.exists() else model
