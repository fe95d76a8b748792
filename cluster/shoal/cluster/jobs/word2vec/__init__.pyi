from .train_job import LearnerPoolSettings as LearnerPoolSettings
from .train_job import TableOutput as TableOutput
from .train_job import run_word2vec as run_word2vec

__all__ = ["LearnerPoolSettings", "TableOutput", "run_word2vec"]
