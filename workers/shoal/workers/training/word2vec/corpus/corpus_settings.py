"""How the text of a corpus is read: tokenizer, sentences and phrases."""

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
    """How text becomes sentences of words. Raises TrainingError when a value is out of its range."""

    tokenizer: str = WHITESPACE
    """See `tokenizers.tokenizer_of`. One of one's own must be importable on every machine."""
    lowercase: bool = False
    """Whether words are brought to lower case."""
    text_field: str = ""
    """The column of Parquet files; none takes the first there is of text, content and body."""
    unit_bytes: int = UNIT_BYTES
    """Size of the parts that plain files and Parquet files are read in."""
    max_sentence: int = 1000
    """Words of a sentence; a longer line is several."""
    phrases: int = 0
    """How often words that go together are joined ("new york" to "new_york"): once makes pairs, twice also longer ones."""
    phrase_threshold: float = 100.0
    """The score above which a pair is a phrase; see `phrases`."""
    phrase_discount: int = 5
    """Pairs, and words of pairs, that do not occur more often are no phrases."""

    def __post_init__(self) -> None:
        check_name(self.tokenizer)
        check_range("unit_bytes", self.unit_bytes, 1, 1 << 40)
        check_range("max_sentence", self.max_sentence, 1, MAX_SENTENCE)
        check_range("phrases", self.phrases, 0, MAX_PHRASES)
        check_range("phrase_threshold", self.phrase_threshold, 0, 1e12)
        check_range("phrase_discount", self.phrase_discount, 1, 1 << 40)

    def to_json(self) -> dict[str, Any]:
        """The settings as values of JSON."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CorpusSettings:
        """The settings that `to_json` gave; raises TrainingError when they are others."""
        try:
            return CorpusSettings(**values)
        except TypeError as error:
            raise TrainingError(f"settings of the corpus: {error}") from error
