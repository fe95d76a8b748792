"""Values of options and arguments that name files."""

from __future__ import annotations

import os
from pathlib import Path

import click


class FilePath(click.ParamType):
    """The path of a file or folder, as a Path; whether it exists is not checked. Text that can be no path is wrong usage."""

    name = "path"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click.ParamType."""
        text = str(value)
        if not text.strip() or "\0" in text or not _is_encodable(text):
            self.fail(f"{text!r} is not a path", param, ctx)
        return Path(text)


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True
