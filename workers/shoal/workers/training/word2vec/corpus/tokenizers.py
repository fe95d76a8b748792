"""Tokenizers: split lines of text into words."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, cast

from shoal.workers.encoding import raw_words_of
from shoal.workers.runtime import error_line
from shoal.workers.training.word2vec.errors import TrainingError

Tokenizer = Callable[[str], Iterable[str]]
"""Takes a line and returns its words in order, as they are written. Words are not empty and contain no white space."""

WHITESPACE, UNICODE = "whitespace", "unicode"


def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer with a name: "whitespace" splits at white space, "unicode" finds words as word-vector models do in
    texts to encode, and "package.module:function" is imported.

    Raises TrainingError when there is no such tokenizer.
    """
    if name == WHITESPACE:
        return str.split
    if name == UNICODE:
        return raw_words_of
    check_name(name)
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # Importing a module may raise anything.
        raise TrainingError(f"tokenizer {name}: cannot be imported: {error_line(error)}") from error
    if not callable(found):
        raise TrainingError(f"tokenizer {name}: not a function, but {type(found).__name__}")
    return cast(Tokenizer, found)


def check_name(name: str) -> None:
    """Raises TrainingError when a tokenizer cannot have this name. Does not import it."""
    module, _, function = name.partition(":")
    is_function = all(part.isidentifier() for part in (*module.split("."), function))
    if name not in (WHITESPACE, UNICODE) and not is_function:
        raise TrainingError(f"tokenizer is {name!r}, must be whitespace, unicode or package.module:function")
