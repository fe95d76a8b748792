"""Reads how a model folder wants its texts prepared and its token vectors pooled, from its sentence-transformers files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from shoal.workers.encoding.model import ModelError, Role

MODULES_FILE = "modules.json"
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

# The form that sentence-transformers wrote before version 6.
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ARCHITECTURES = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_TRANSFORMER_FILES = tuple(f"sentence_{architecture}_config.json" for architecture in _ARCHITECTURES)
# The names that models use, the likeliest first.
_PROMPT_NAMES = {Role.DOCUMENT: ("document", "passage", "corpus"), Role.QUERY: ("query",)}


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """How text becomes tokens and tokens become one vector."""

    transformer: str
    """Sub-folder of the transformer's files; "" is the model folder itself."""
    pooling: tuple[str, ...]
    """Members of POOLING_MODES; the vectors of several are joined end to end."""
    normalize: bool
    max_tokens: int | None
    """None leaves it to the tokenizer and the transformer."""
    lower_case: bool
    document_prompt: str
    query_prompt: str

    def prompt(self, role: Role) -> str:
        """What is put before each text of `role`."""
        return self.query_prompt if role is Role.QUERY else self.document_prompt

    def settings(self) -> dict[str, Any]:
        """What of this decides the vectors, as JSON values."""
        return {
            "pooling": list(self.pooling),
            "normalize": self.normalize,
            "lower_case": self.lower_case,
            "document_prompt": self.document_prompt,
            "query_prompt": self.query_prompt,
        }


def read_sentence_config(folder: Path, name: str) -> SentenceConfig:
    """The config of the model in `folder`; `name` is what errors call it.

    A folder without modules.json is a plain Hugging Face model: it gets mean pooling and normalised vectors.
    Raises ModelError for files that are malformed or ask for what is not supported.
    """
    reader = _Reader(folder, name)
    modules = reader.modules()
    if modules is None:
        modules, pooling = [("Transformer", ""), ("Pooling", ""), ("Normalize", "")], ("mean",)
    else:
        pooling = None
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        listed = ", ".join(kinds) or "nothing"
        raise ModelError(name, f"modules.json lists {listed}; needed are Transformer, Pooling[, Normalize]")
    transformer = modules[0][1]
    text = reader.first_of(transformer, _TRANSFORMER_FILES)
    prompts = reader.prompts()
    if pooling is None:
        pooling = reader.pooling(modules[1][1], has_prompts=any(prompts.values()))
    return SentenceConfig(
        transformer=transformer,
        pooling=pooling,
        normalize="Normalize" in kinds,
        max_tokens=reader.max_tokens(text),
        lower_case=bool(text.get("do_lower_case", False)),
        document_prompt=prompts[Role.DOCUMENT],
        query_prompt=prompts[Role.QUERY],
    )


class _Reader:
    """One model folder; every complaint names the model and the file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def _json(self, path: str) -> Any:
        try:
            return json.loads((self._folder / path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ModelError(self._name, f"{path} cannot be read: {error}") from None

    def _object(self, path: str) -> Mapping[str, Any]:
        value = self._json(path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ModelError(self._name, f"{path} holds {type(value).__name__}, not an object")
        return value

    def modules(self) -> list[tuple[str, str]] | None:
        """Kind and sub-folder of each module, in order; None for a plain Hugging Face folder."""
        listed = self._json(MODULES_FILE)
        if listed is None:
            return None
        modules: list[tuple[str, str]] = []
        if not isinstance(listed, list):
            raise ModelError(self._name, f"modules.json holds {type(listed).__name__}, not a list")
        for entry in listed:
            fields = entry if isinstance(entry, dict) else {}
            module, path = fields.get("type"), fields.get("path")
            if not isinstance(module, str) or not isinstance(path, str):
                raise ModelError(self._name, f"modules.json has an entry without type and path: {entry!r}")
            kind = module.rpartition(".")[2]
            if kind not in ("Transformer", "Pooling", "Normalize"):
                raise ModelError(self._name, f"module {kind!r} ({path or 'root'}) of modules.json is not supported")
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ModelError(self._name, f"module path {path!r} of modules.json leaves the model folder")
            modules.append((kind, path))
        return modules

    def first_of(self, folder: str, files: tuple[str, ...]) -> Mapping[str, Any]:
        """The first of `files` that is there, else nothing."""
        for file in files:
            path = str(PurePosixPath(folder) / file)
            if (self._folder / path).is_file():
                return self._object(path)
        return {}

    def pooling(self, folder: str, has_prompts: bool) -> tuple[str, ...]:
        path = str(PurePosixPath(folder) / "config.json")
        config = self._object(path)
        if not config:
            raise ModelError(self._name, f"{path} is missing or empty")
        listed = config.get("pooling_mode")
        if listed is None:
            listed = [mode for key, mode in _LEGACY_POOLING.items() if config.get(key)] or ["mean"]
        modes = (listed,) if isinstance(listed, str) else tuple(listed)
        for mode in modes:
            if mode not in POOLING_MODES:
                raise ModelError(self._name, f"pooling mode {mode!r} of {path} is not supported")
        if has_prompts and not config.get("include_prompt", True):
            raise ModelError(self._name, f"include_prompt=false of {path} is not supported")
        return modes

    def max_tokens(self, text: Mapping[str, Any]) -> int | None:
        value = text.get("max_seq_length")
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ModelError(self._name, f"max_seq_length is {value!r}, the least is 1")
        return value

    def prompts(self) -> dict[Role, str]:
        path = "config_sentence_transformers.json"
        config = self._object(path)
        saved = config.get("prompts") or {}
        if not isinstance(saved, dict) or not all(isinstance(value, str | None) for value in saved.values()):
            raise ModelError(self._name, f"prompts of {path} do not map names to texts")
        prompts = {key: value or "" for key, value in saved.items()}
        default = config.get("default_prompt_name")
        if default is not None and default not in prompts:
            raise ModelError(self._name, f"default_prompt_name of {path} is {default!r}, which prompts does not have")
        return {role: _prompt(prompts, names, default) for role, names in _PROMPT_NAMES.items()}


def _prompt(prompts: Mapping[str, str], names: Sequence[str], default: str | None) -> str:
    """An empty prompt under one of `names` still says that the default is not meant."""
    own = [prompts[name] for name in names if name in prompts]
    if own:
        return next((prompt for prompt in own if prompt), "")
    return prompts[default] if default is not None else ""
