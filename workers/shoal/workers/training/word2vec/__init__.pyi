from .averaging.averaging_settings import AveragingSettings as AveragingSettings
from .averaging.merge import MergeScheme as MergeScheme
from .corpus.corpus_settings import CorpusSettings as CorpusSettings
from .corpus.counting import scan_unit as scan_unit
from .corpus.encoded_corpus import EncodedCorpus as EncodedCorpus
from .corpus.encoded_corpus import encode_unit as encode_unit
from .corpus.text_blocks import UnitReader as UnitReader
from .corpus.units import CorpusFile as CorpusFile
from .corpus.units import CorpusUnit as CorpusUnit
from .corpus.units import plan_units as plan_units
from .corpus.units import utf8_file as utf8_file
from .corpus.unread_rows import UnreadRow as UnreadRow
from .corpus.vocabulary import Vocabulary as Vocabulary
from .corpus.vocabulary import build_vocabulary as build_vocabulary
from .corpus.vocabulary import merge_counts as merge_counts
from .errors import TrainingError as TrainingError
from .learner import Ids as Ids
from .learner import Learner as Learner
from .learner import TrainResult as TrainResult
from .learners.cpu_learner import CpuLearner as CpuLearner
from .learners.torch_learner import TorchLearner as TorchLearner
from .learners.training_device import AUTO as AUTO
from .learners.training_device import CPU as CPU
from .learners.training_device import CUDA as CUDA
from .learners.training_device import DEVICES as DEVICES
from .learners.training_device import missing_cuda as missing_cuda
from .learners.training_device import training_device as training_device
from .run.checkpoint import CHECKPOINT_EVERY_S as CHECKPOINT_EVERY_S
from .run.learner_actor import LearnerActor as LearnerActor
from .run.learner_actor import LearnerHost as LearnerHost
from .run.learner_pool import Assignment as Assignment
from .run.learner_pool import LearnerPool as LearnerPool
from .run.learner_pool import LearnersLost as LearnersLost
from .run.learner_pool import MachineMemory as MachineMemory
from .run.learner_pool import MergeResult as MergeResult
from .run.local_pool import LocalLearnerPool as LocalLearnerPool
from .run.pool_learner import LearnerFactory as LearnerFactory
from .run.pool_learner import PoolLearner as PoolLearner
from .run.pool_learner import SyncResult as SyncResult
from .run.pool_learner import cpu_learner as cpu_learner
from .run.pool_learner import cuda_learner as cuda_learner
from .run.progress import TrainingStats as TrainingStats
from .run.rounds import Rounds as Rounds
from .run.rounds import RoundsPlan as RoundsPlan
from .run.schedule import SpanLease as SpanLease
from .run.training_run import CorpusStats as CorpusStats
from .run.training_run import TrainingListeners as TrainingListeners
from .run.training_run import TrainingSummary as TrainingSummary
from .run.training_run import train_word2vec as train_word2vec
from .run.work_folder import WORK_SUFFIX as WORK_SUFFIX
from .settings import CBOW_LEARNING_RATE as CBOW_LEARNING_RATE
from .settings import LEARNING_RATE as LEARNING_RATE
from .settings import Word2VecSettings as Word2VecSettings
from .tables import Floats as Floats
from .tables import Tables as Tables

__all__ = [
    "AUTO",
    "Assignment",
    "AveragingSettings",
    "CBOW_LEARNING_RATE",
    "CHECKPOINT_EVERY_S",
    "CPU",
    "CUDA",
    "CorpusFile",
    "CorpusSettings",
    "CorpusStats",
    "CorpusUnit",
    "CpuLearner",
    "DEVICES",
    "EncodedCorpus",
    "Floats",
    "Ids",
    "LEARNING_RATE",
    "Learner",
    "LearnerActor",
    "LearnerFactory",
    "LearnerHost",
    "LearnerPool",
    "LearnersLost",
    "LocalLearnerPool",
    "MachineMemory",
    "MergeResult",
    "MergeScheme",
    "PoolLearner",
    "Rounds",
    "RoundsPlan",
    "SpanLease",
    "SyncResult",
    "Tables",
    "TorchLearner",
    "TrainResult",
    "TrainingError",
    "TrainingListeners",
    "TrainingStats",
    "TrainingSummary",
    "UnitReader",
    "UnreadRow",
    "Vocabulary",
    "WORK_SUFFIX",
    "Word2VecSettings",
    "build_vocabulary",
    "cpu_learner",
    "cuda_learner",
    "encode_unit",
    "merge_counts",
    "missing_cuda",
    "plan_units",
    "scan_unit",
    "train_word2vec",
    "training_device",
    "utf8_file",
]
