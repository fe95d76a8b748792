from .analogies import QuestionScore as QuestionScore
from .analogies import score_analogies as score_analogies
from .analogy_questions import Question as Question
from .analogy_questions import QuestionSection as QuestionSection
from .analogy_questions import words_of as words_of
from .candidate_sources import embedded_candidates as embedded_candidates
from .candidate_sources import is_table as is_table
from .candidate_sources import table_candidates as table_candidates
from .candidates import WordCandidates as WordCandidates
from .errors import EvaluationError as EvaluationError
from .nearest import nearest_words as nearest_words
from .similarity import WordPair as WordPair
from .similarity import score_similarity as score_similarity

__all__ = [
    "EvaluationError",
    "Question",
    "QuestionScore",
    "QuestionSection",
    "WordCandidates",
    "WordPair",
    "embedded_candidates",
    "is_table",
    "nearest_words",
    "score_analogies",
    "score_similarity",
    "table_candidates",
    "words_of",
]
