"""Reads and checks the files that sentence-transformers writes into a model folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from shoal.workers.encoding.json_files import is_count, read_json
from shoal.workers.encoding.model import ModelError, Role
from shoal.workers.encoding.transformer.token_limits import StatedLimits

MODULES_FILE = "modules.json"
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
"""The activations of dense layers, by their names in torch.nn."""

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
TRANSFORMER_FILES = tuple(f"sentence_{architecture}_config.json" for architecture in _ARCHITECTURES)
# The names that models use, the most common first.
_PROMPT_NAMES = {Role.DOCUMENT: ("document", "passage", "corpus"), Role.QUERY: ("query",)}
AFTER_POOLING = ("Dense", "LayerNorm", "Normalize", "Dropout")
_KINDS = ("Transformer", "StaticEmbedding", "Pooling", *AFTER_POOLING)
_WEIGHTS_FILE = "model.safetensors"
VECTOR = "sentence_embedding"
_TASK, _OUTPUT = "feature-extraction", "last_hidden_state"
# All of them cut the end of a single text.
_TRUNCATIONS = (True, "longest_first", "only_first")


@dataclass(frozen=True, slots=True)
class ModuleConfig:
    """A module between pooling and the final normalising."""

    kind: str
    """Dense, LayerNorm or Normalize."""
    path: str
    """Its subfolder, also its name in errors."""
    inputs: int = 0
    outputs: int = 0
    bias: bool = True
    activation: str = "Identity"
    """A member of ACTIVATIONS."""
    residual: bool = False
    """Whether a dense layer adds its input."""

    @property
    def weights(self) -> str:
        """Its weights file, relative to the model folder."""
        return str(PurePosixPath(self.path) / _WEIGHTS_FILE)

    def settings(self) -> list[Any]:
        """The settings that decide the vectors, as JSON values; its path does not."""
        return [self.kind, self.inputs, self.outputs, self.bias, self.activation, self.residual]


class SentenceFiles:
    """One model folder. Methods raise ModelError; each message names the model and the file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def _json(self, path: str) -> Any:
        try:
            return read_json(self._folder / path)
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
        """Kind and subfolder of each module, in order; None for a plain Hugging Face folder."""
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
            if kind not in _KINDS:
                raise ModelError(self._name, f"module {kind!r} ({path or 'root'}) of modules.json is not supported")
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ModelError(self._name, f"module path {path!r} of modules.json leaves the model folder")
            modules.append((kind, path))
        return modules

    def first_of(self, folder: str, files: tuple[str, ...]) -> Mapping[str, Any]:
        """The content of the first of `files` that exists; empty if none does."""
        for file in files:
            path = str(PurePosixPath(folder) / file)
            if (self._folder / path).is_file():
                return self._object(path)
        return {}

    def pooling(self, folder: str) -> tuple[tuple[str, ...], bool]:
        """The pooling modes, and whether the tokens of prompts are pooled."""
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
        return modes, bool(config.get("include_prompt", True))

    def plain_pooling(self) -> tuple[str, ...]:
        """The pooling modes of a folder without modules.json."""
        config = self._object("config.json")
        architectures = config.get("architectures") or [""]
        causal = str(architectures[0]).endswith("ForCausalLM") and config.get("is_causal", True)
        return ("lasttoken",) if causal else ("mean",)

    def after_pooling(self, modules: Sequence[tuple[str, str]]) -> tuple[ModuleConfig, ...]:
        """The configs of these modules; checks that their weights exist."""
        return tuple(self._after_pooling(kind, path) for kind, path in modules if kind != "Dropout")

    def _after_pooling(self, kind: str, folder: str) -> ModuleConfig:
        path = str(PurePosixPath(folder) / "config.json")
        config = self._object(path)
        for key in ("module_input_name", "module_output_name"):
            if config.get(key) not in (None, VECTOR):
                raise ModelError(self._name, f"{key} of {path} is {config[key]!r}, only {VECTOR!r} is supported")
        if kind == "Normalize":
            return ModuleConfig(kind, folder)
        if kind == "LayerNorm":
            dimension = self._dimension(config, "dimension", path)
            module = ModuleConfig(kind, folder, dimension, dimension)
        else:
            module = ModuleConfig(
                kind,
                folder,
                self._dimension(config, "in_features", path),
                self._dimension(config, "out_features", path),
                bias=bool(config.get("bias", True)),
                activation=self._activation(config.get("activation_function", "torch.nn.modules.activation.Tanh"), path),
                residual=bool(config.get("use_residual", False)),
            )
        if not (self._folder / module.weights).is_file():
            raise ModelError(self._name, f"{module.weights} is missing")
        return module

    def _dimension(self, config: Mapping[str, Any], key: str, path: str) -> int:
        value = config.get(key)
        if not is_count(value):
            raise ModelError(self._name, f"{key} of {path} must be an integer of at least 1, not {value!r}")
        return value

    def _activation(self, value: Any, path: str) -> str:
        name = str(value).rpartition(".")[2]
        if not str(value).startswith("torch.nn.") or name not in ACTIVATIONS:
            raise ModelError(self._name, f"activation_function {value!r} of {path} is not supported")
        return name

    def check_output(self, text: Mapping[str, Any]) -> None:
        """Refuses a transformer whose output is not the last hidden states of a text."""
        task = text.get("transformer_task") or _TASK
        modality = text.get("modality_config") or {}
        if isinstance(modality, dict) and "message" in modality:
            raise ModelError(self._name, "a transformer that reads texts as chat messages is not supported")
        output = modality.get("text", {}).get("method_output_name", _OUTPUT) if isinstance(modality, dict) else modality
        if task != _TASK or output != _OUTPUT:
            raise ModelError(self._name, f"a transformer for {task!r} with output {output!r} is not supported")

    def limits(self, text: Mapping[str, Any]) -> StatedLimits:
        """The token limits in the settings of a transformer. Refuses settings of the tokenizer's calls that change what is
        read of a text in other ways."""
        called = self._text_arguments(text)
        # The older name goes first, as in sentence-transformers.
        loaded = text.get("tokenizer_args", text.get("processor_kwargs")) or {}
        own = loaded.get("model_max_length") if isinstance(loaded, dict) else None
        usual = _tokens(self._name, "model_max_length", own) or _tokens(
            self._name, "max_seq_length", text.get("max_seq_length")
        )
        if "max_length" in called:
            return StatedLimits(_tokens(self._name, "max_length", called["max_length"]) or usual)
        by_role = [_tokens(self._name, key, text.get(key)) for key in ("query_length", "document_length")]
        return StatedLimits(usual, *by_role)

    def _text_arguments(self, text: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments with which sentence-transformers calls the tokenizer of a transformer with these settings."""
        given = text.get("processing_kwargs") or {}
        called: Any = given.get("text") or {} if isinstance(given, dict) else given
        other = given.get("common") or given.get("chat_template") if isinstance(given, dict) else None
        if other or not isinstance(called, dict) or not {*called} <= {"max_length", "truncation", "padding"}:
            raise ModelError(self._name, f"processing_kwargs {given!r} of the transformer are not supported")
        if called.get("truncation", True) not in _TRUNCATIONS:
            raise ModelError(self._name, f"truncation {called['truncation']!r} of the transformer is not supported")
        return called

    def preparation(self) -> tuple[dict[Role, str], int]:
        """The prompt of each role, and how many dimensions of a vector are kept (0 for all)."""
        path = "config_sentence_transformers.json"
        config = self._object(path)
        saved = config.get("prompts") or {}
        if not isinstance(saved, dict) or not all(isinstance(value, str | None) for value in saved.values()):
            raise ModelError(self._name, f"prompts of {path} do not map names to texts")
        prompts = {key: value or "" for key, value in saved.items()}
        default = config.get("default_prompt_name")
        if default is not None and default not in prompts:
            raise ModelError(self._name, f"default_prompt_name of {path} is {default!r}, which is not one of its prompts")
        dimensions = config.get("truncate_dim") or 0
        if not is_count(dimensions, least=0):
            raise ModelError(self._name, f"truncate_dim of {path} must be an integer of at least 1, not {dimensions!r}")
        return {role: _prompt(prompts, names, default) for role, names in _PROMPT_NAMES.items()}, dimensions


def _tokens(name: str, key: str, value: Any) -> int | None:
    if value is not None and not is_count(value):
        raise ModelError(name, f"{key} must be an integer of at least 1, not {value!r}")
    return value


def _prompt(prompts: Mapping[str, str], names: Sequence[str], default: str | None) -> str:
    """The first prompt under one of `names`, else the default. An empty prompt under a name also overrides the default."""
    own = [prompts[name] for name in names if name in prompts]
    if own:
        return next((prompt for prompt in own if prompt), "")
    return prompts[default] if default is not None else ""
