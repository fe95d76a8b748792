"""Models as they are named on the command line."""

from __future__ import annotations

import os
from pathlib import Path


def absolute_model_name(model: str) -> str:
    """The model by a name that means the same in any folder, so to a server or a Ray worker: paths become absolute.

    A path begins with /, ./, ../ or ~, or there is such a file or folder. Other names are not checked here.
    """
    name, at, precision = model.rpartition("@")
    # Unlike those of Path, these functions take any text, such as "~nobody" and a name that is too long.
    if not at or os.path.exists(os.path.expanduser(model)):
        name, at, precision = model, "", ""
    if not name or name.partition(":")[0] == "hashing":
        return model
    path = os.path.expanduser(name)
    if path.startswith("~"):  # Of a user that does not exist, which the server refuses by name.
        return model
    if not name.startswith(("/", "./", "../", "~")) and not os.path.exists(path):
        return model
    return f"{Path(path).absolute()}{at}{precision}"
