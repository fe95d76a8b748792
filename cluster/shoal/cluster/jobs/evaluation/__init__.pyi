from .pair_files import read_pairs as read_pairs
from .question_files import read_questions as read_questions
from .word_files import read_words as read_words

__all__ = ["read_pairs", "read_questions", "read_words"]
