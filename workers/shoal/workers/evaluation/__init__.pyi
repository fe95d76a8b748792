from .analogies import QuestionScore as QuestionScore
from .analogies import score_analogies as score_analogies
from .analogy_questions import read_questions as read_questions
from .analogy_questions import words_of as words_of
from .candidate_sources import embedded_candidates as embedded_candidates
from .candidate_sources import is_table as is_table
from .candidate_sources import table_candidates as table_candidates
from .candidates import WordCandidates as WordCandidates
from .errors import EvaluationError as EvaluationError
from .nearest import nearest_words as nearest_words
from .similarity import read_pairs as read_pairs
from .similarity import score_similarity as score_similarity
from .text_lines import read_words as read_words

__all__ = [
    "EvaluationError",
    "QuestionScore",
    "WordCandidates",
    "embedded_candidates",
    "is_table",
    "nearest_words",
    "read_pairs",
    "read_questions",
    "read_words",
    "score_analogies",
    "score_similarity",
    "table_candidates",
    "words_of",
]
