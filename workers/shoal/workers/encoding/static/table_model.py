"""Models without a network: the vector of a text is the mean of the vectors of its words or tokens in a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from shoal.workers.encoding.batching import BatchBounds, run_isolated
from shoal.workers.encoding.fingerprint import file_fingerprint, folder_fingerprint
from shoal.workers.encoding.model import (
    EMPTY_TEXT,
    EmbeddingModel,
    EncodeOptions,
    ModelError,
    Role,
    Tokenized,
    Truncation,
    Vectors,
    shortened,
    too_long,
)
from shoal.workers.encoding.static.static_folder import TOKENIZER_FILE, read_static_folder
from shoal.workers.encoding.transformer.tokenization import PromptTooLong, Tokenizer, plain_tokenizer
from shoal.workers.encoding.word_vectors.file_reading import read_word_vectors
from shoal.workers.encoding.word_vectors.vector_table import ArrayRows, Ids, VectorTable
from shoal.workers.encoding.word_vectors.word_folder import CONFIG_FILE, VECTORS_FILE, VOCABULARY_FILE, read_word_folder
from shoal.workers.encoding.word_vectors.word_lookup import AS_WRITTEN, UNICODE, WHITESPACE, WordLookup, WordRule
from shoal.workers.encoding.words import WORD_RULE
from shoal.workers.runtime import typed_error_line

# For models whose files set no limit.
DEFAULT_MAX_TOKENS = 8192

_PROBED_WORDS = 1000

NOTHING_KNOWN = "the model's table has none of the text's words"


class _TableTokenizer(Protocol):
    """Turns texts into ids of a table."""

    max_tokens: int

    def words(self) -> Iterator[str]:
        """The words of the table, in its order."""
        ...

    def tokenize(self, texts: Sequence[str], prompt: str, truncation: Truncation) -> list[tuple[Ids, bool]]:
        """For each text its ids, and whether it was truncated."""
        ...


class TableModel(EmbeddingModel):
    """Means of a table's rows. Unknown words are skipped; a text without a known word is an error."""

    bounds = BatchBounds(tokens=16_384)

    def __init__(
        self,
        name: str,
        table: VectorTable,
        tokenizer: _TableTokenizer,
        fingerprint: str,
        normalize: bool,
        dimensions: int = 0,
        prompts: tuple[str, str] = ("", ""),
    ) -> None:
        """`prompts` are those of documents and queries; `dimensions` is how many dimensions of a row are kept, 0 for all.

        Raises ModelError when none of the first words of the table has a vector.
        """
        self.name = name
        self.fingerprint = fingerprint
        self.dimension = min(dimensions or table.rows.dimension, table.rows.dimension)
        self.max_tokens = tokenizer.max_tokens
        self._table, self._tokenizer = table, tokenizer
        self._normalize = normalize
        self._prompts = dict(zip((Role.DOCUMENT, Role.QUERY), prompts, strict=True))
        self.probe_text = self._known_text()

    def tokenize(self, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        """See `EmbeddingModel.tokenize`. A token is an id of the table."""
        prompt = self._prompts[options.role] if options.prompt is None else options.prompt
        readable = [row for row, text in enumerate(texts) if text and not text.isspace()]
        answers = [Tokenized(0, error=EMPTY_TEXT)] * len(texts)

        def tokenize(some: Sequence[str]) -> list[tuple[Ids, bool]]:
            return self._tokenizer.tokenize(some, prompt, options.truncation)

        try:
            results = run_isolated([texts[row] for row in readable], tokenize, fatal=PromptTooLong)
        except PromptTooLong as error:
            results = [error] * len(readable)
        for row, result in zip(readable, results, strict=True):
            answers[row] = self._tokenized(result, options.truncation)
        return answers

    def _tokenized(self, result: tuple[Ids, bool] | Exception, truncation: Truncation) -> Tokenized:
        if isinstance(result, PromptTooLong):
            return Tokenized(0, error=str(result))
        if isinstance(result, Exception):
            return Tokenized(0, error=f"the tokenizer failed: {typed_error_line(result)}")
        ids, truncated = result
        if not len(ids):
            return Tokenized(0, error=NOTHING_KNOWN)
        if truncated and truncation is Truncation.REFUSE:
            return Tokenized(0, error=too_long(self.max_tokens))
        return Tokenized(len(ids), truncated, content=ids)

    def _known_text(self) -> str:
        """A text with a vector, for probing. Tables may be of any language, and begin with unusual words or zero rows."""
        probes = [self.probe_text, *islice(self._tokenizer.words(), _PROBED_WORDS)]
        for text, error in zip(probes, self.encode(probes, EncodeOptions(prompt="")).errors, strict=True):
            if not error:
                return text
        raise ModelError(self.name, f"none of the first {_PROBED_WORDS} words of its table has a vector")

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        """See `EmbeddingModel.forward`."""
        return self._table.means([text.content for text in batch])[:, : self.dimension]

    def finish(self, vectors: Vectors, options: EncodeOptions) -> Vectors:
        """See `EmbeddingModel.finish`."""
        return shortened(vectors, options.dimensions, self._normalize if options.normalize is None else options.normalize)


class _WordTokenizer:
    def __init__(self, ids: Mapping[str, int], rule: WordRule = AS_WRITTEN) -> None:
        self._ids = ids
        self._lookup = WordLookup(ids, DEFAULT_MAX_TOKENS, rule)
        self.max_tokens = DEFAULT_MAX_TOKENS

    def words(self) -> Iterator[str]:
        return iter(self._ids)

    def tokenize(self, texts: Sequence[str], prompt: str, truncation: Truncation) -> list[tuple[Ids, bool]]:
        return [self._lookup.find(prompt + text, truncation) for text in texts]


class _SubwordTokenizer:
    def __init__(self, tokenizer: Tokenizer, max_tokens: int, count: int, unknown: int | None) -> None:
        self._tokenizer, self._unknown, self._count = tokenizer, unknown, count
        self.max_tokens = max_tokens
        tokenizer.limit(max_tokens)

    def words(self) -> Iterator[str]:
        return self._tokenizer.vocabulary()

    def tokenize(self, texts: Sequence[str], prompt: str, truncation: Truncation) -> list[tuple[Ids, bool]]:
        return [(self._known(text.ids), text.truncated) for text in self._tokenizer.tokenize(texts, prompt, truncation)]

    def _known(self, ids: Ids) -> Ids:
        known = ids if self._unknown is None else ids[ids != self._unknown]
        if len(known) and int(known.max()) >= self._count:
            raise ValueError(f"token id {int(known.max())}, but the table has {self._count} tokens")
        return known


def word_model(file: Path, name: str) -> TableModel:
    """The model of a file of word vectors (see `file_reading`). Words are found by `WordLookup`, vectors are normalised.

    Raises ModelError when the file is malformed.
    """
    vectors = read_word_vectors(file, name)
    tokenizer = _WordTokenizer(vectors.ids)
    settings = {"words": WORD_RULE, "max_tokens": tokenizer.max_tokens, "normalize": True}
    fingerprint = file_fingerprint(file, settings, vectors.other_files)
    return TableModel(name, VectorTable(vectors.rows), tokenizer, fingerprint, normalize=True)


def word_folder_model(folder: Path, name: str) -> TableModel:
    """The model of a folder that a training wrote (see `word_folder`); words are found by `WordLookup`.

    Raises ModelError when files are malformed, or the corpus was split by a custom function.
    """
    read = read_word_folder(folder, name)
    config = read.config
    if config.tokenizer not in (UNICODE, WHITESPACE):
        raise ModelError(
            name,
            f"tokenizer of {CONFIG_FILE} is the function {config.tokenizer!r}, which is not run for safety; "
            f"replace it by {UNICODE} or {WHITESPACE}, which split most texts alike",
        )
    tokenizer = _WordTokenizer({word: word_id for word_id, word in enumerate(read.words)}, config.rule)
    settings = {"words": WORD_RULE, "max_tokens": tokenizer.max_tokens, **config.decisive()}
    files = [folder / VECTORS_FILE, folder / VOCABULARY_FILE]
    try:
        fingerprint = file_fingerprint(files[0], settings, files[1:])
    except OSError as error:
        raise ModelError(name, error) from error
    table = VectorTable(ArrayRows(read.vectors), weights=read.weights())
    return TableModel(name, table, tokenizer, fingerprint, config.normalize)


def static_model(folder: Path, name: str) -> TableModel:
    """The model of a folder of static embeddings (see `static_folder`). Raises ModelError when files are malformed."""
    static = read_static_folder(folder, name)
    plain, unknown = plain_tokenizer(static.inner / TOKENIZER_FILE, name)
    max_tokens = static.max_tokens or DEFAULT_MAX_TOKENS
    tokenizer = _SubwordTokenizer(plain, max_tokens, static.table.count, unknown if static.without_unknown else None)
    settings = {**static.config.settings(), "max_tokens": max_tokens, "without_unknown": static.without_unknown}
    try:
        fingerprint = folder_fingerprint(static.inner, settings)
    except (OSError, ValueError) as error:
        raise ModelError(name, error) from error
    config = static.config
    prompts = (config.document_prompt, config.query_prompt)
    return TableModel(name, static.table, tokenizer, fingerprint, config.normalize, config.dimensions, prompts)
