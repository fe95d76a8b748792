"""The settings for reading a corpus: tokenizer, sentences and phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shoal.workers.training.word2vec.corpus.tokenizers import WHITESPACE, check_name
from shoal.workers.training.word2vec.errors import TrainingError, check_range

UNIT_BYTES = 16 << 20
MAX_SENTENCE = 1_000_000
MAX_PHRASES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSettings:
    """How text becomes sentences of words. Raises TrainingError when a value is out of range."""

    tokenizer: str = WHITESPACE
    """See `tokenizers.tokenizer_of`. Your own must be importable on every machine."""
    lowercase: bool = False
    """Whether words are converted to lower case."""
    text_fields: tuple[str, ...] = ()
    """The fields with the text, in files that have rows. If empty, the usual ones."""
    unit_bytes: int = UNIT_BYTES
    """Size of the units into which files are divided."""
    max_sentence: int = 1000
    """Longest sentence in words. Longer lines are split."""
    phrases: int = 0
    """How many times words that belong together are joined ("new york" to "new_york"). Once makes pairs, twice also longer
    phrases."""
    phrase_threshold: float = 100.0
    """The score above which a pair is a phrase. See module `phrases`."""
    phrase_discount: int = 5
    """Pairs that occur at most this often are not joined, nor pairs with such a word."""

    def __post_init__(self) -> None:
        check_name(self.tokenizer)
        check_range("unit_bytes", self.unit_bytes, 1, 1 << 40)
        check_range("max_sentence", self.max_sentence, 1, MAX_SENTENCE)
        check_range("phrases", self.phrases, 0, MAX_PHRASES)
        check_range("phrase_threshold", self.phrase_threshold, 0, 1e12)
        check_range("phrase_discount", self.phrase_discount, 1, 1 << 40)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CorpusSettings:
        """Reads what `to_json` returned. Raises TrainingError for unknown settings."""
        try:
            fields = tuple(values.get("text_fields", ()))
            return CorpusSettings(**{**values, "text_fields": fields})
        except TypeError as error:
            raise TrainingError(f"corpus settings: {error}") from error
