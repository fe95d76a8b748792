from .running import CrewSettings as CrewSettings
from .running import Output as Output
from .running import run_word2vec as run_word2vec

__all__ = ["CrewSettings", "Output", "run_word2vec"]
