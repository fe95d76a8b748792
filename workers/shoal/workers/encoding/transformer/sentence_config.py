"""How a model prepares texts and pools token vectors, from all its sentence-transformers files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.workers.encoding.model import ModelError, Role
from shoal.workers.encoding.transformer.sentence_files import AFTER_POOLING, TRANSFORMER_FILES, ModuleConfig, SentenceFiles
from shoal.workers.encoding.transformer.token_limits import StatedLimits


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """How text becomes tokens and tokens become one vector."""

    transformer: str
    """Subfolder with the files of the transformer, or of the table; "" is the model folder itself."""
    pooling: tuple[str, ...]
    """Members of POOLING_MODES; the vectors of several modes are concatenated. Empty for a static table."""
    normalize: bool
    limits: StatedLimits
    lower_case: bool
    document_prompt: str
    query_prompt: str
    include_prompt: bool = True
    """Whether the tokens of a prompt are pooled."""
    modules: tuple[ModuleConfig, ...] = ()
    """The modules between pooling and normalising, in order."""
    dimensions: int = 0
    """The first dimensions of each vector that are kept; 0 keeps all."""
    static: bool = False
    """Whether the model is a table of token vectors instead of a transformer."""

    def prompt(self, role: Role) -> str:
        """The prompt before each text of `role`."""
        return self.query_prompt if role is Role.QUERY else self.document_prompt

    def settings(self) -> dict[str, Any]:
        """The settings that decide the vectors, as JSON values. Unused settings are left out, so that a new kind of setting
        does not change the fingerprints of models without it."""
        settings: dict[str, Any] = {
            "pooling": list(self.pooling),
            "normalize": self.normalize,
            "lower_case": self.lower_case,
            "document_prompt": self.document_prompt,
            "query_prompt": self.query_prompt,
        }
        if not self.include_prompt:
            settings["include_prompt"] = False
        if self.modules:
            settings["modules"] = [module.settings() for module in self.modules]
        if self.dimensions:
            settings["dimensions"] = self.dimensions
        return settings


def read_sentence_config(folder: Path, name: str) -> SentenceConfig:
    """The config of the model in `folder`; `name` is its name in errors.

    A folder without modules.json is a plain Hugging Face model: it is pooled as in sentence-transformers, by the last token
    for a language model and by the mean for any other, and vectors are normalised.
    Raises ModelError for files that are malformed or need an unsupported feature.
    """
    reader = SentenceFiles(folder, name)
    modules = reader.modules()
    plain = modules is None
    if modules is None:
        modules = [("Transformer", ""), ("Pooling", ""), ("Normalize", "")]
    kinds = [kind for kind, _ in modules]
    static = kinds[:1] == ["StaticEmbedding"]
    later = modules[1:] if static else modules[2:]
    first = ["StaticEmbedding"] if static else ["Transformer", "Pooling"]
    if kinds[: len(first)] != first or any(kind not in AFTER_POOLING for kind, _ in later):
        listed = ", ".join(kinds) or "nothing"
        needed = "Transformer, Pooling[, Dense, LayerNorm, Normalize] or StaticEmbedding[, Normalize]"
        raise ModelError(name, f"modules.json lists {listed}, expected {needed}")
    after = reader.after_pooling(later)
    # A last Normalize is applied after vectors are shortened, not as a module.
    normalize = bool(after) and after[-1].kind == "Normalize"
    if static and len(after) > normalize:
        raise ModelError(name, f"{after[0].path} of modules.json is not supported after StaticEmbedding")
    # Without modules.json sentence-transformers does not read these files either.
    text = {} if plain else reader.first_of(modules[0][1], TRANSFORMER_FILES)
    reader.check_output(text)
    prompts, dimensions = reader.preparation()
    pooling, include_prompt = ("mean",), True
    if static:
        pooling = ()
    elif plain:
        pooling = reader.plain_pooling()
    else:
        pooling, include_prompt = reader.pooling(modules[1][1])
    return SentenceConfig(
        transformer=modules[0][1],
        pooling=pooling,
        normalize=normalize,
        limits=reader.limits(text),
        lower_case=bool(text.get("do_lower_case", False)),
        document_prompt=prompts[Role.DOCUMENT],
        query_prompt=prompts[Role.QUERY],
        include_prompt=include_prompt,
        modules=after[:-1] if normalize else after,
        dimensions=dimensions,
        static=static,
    )
