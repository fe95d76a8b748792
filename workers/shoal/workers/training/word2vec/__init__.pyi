from .averaging.averaging import Scheme as Scheme
from .averaging.averaging_settings import AveragingSettings as AveragingSettings
from .corpus.corpus import CorpusSettings as CorpusSettings
from .corpus.corpus import plan_units as plan_units
from .corpus.counting import scan_unit as scan_unit
from .corpus.encoded_corpus import EncodedCorpus as EncodedCorpus
from .corpus.encoded_corpus import encode_unit as encode_unit
from .corpus.vocabulary import Vocabulary as Vocabulary
from .corpus.vocabulary import build_vocabulary as build_vocabulary
from .corpus.vocabulary import merge_counts as merge_counts
from .errors import TrainingError as TrainingError
from .learner import Ids as Ids
from .learner import Learner as Learner
from .learner import Trained as Trained
from .learners.cpu_learner import CpuLearner as CpuLearner
from .learners.torch_learner import TorchLearner as TorchLearner
from .learners.training_device import AUTO as AUTO
from .learners.training_device import CPU as CPU
from .learners.training_device import CUDA as CUDA
from .learners.training_device import DEVICES as DEVICES
from .learners.training_device import missing_cuda as missing_cuda
from .learners.training_device import training_device as training_device
from .run.actor import Place as Place
from .run.actor import TrainerActor as TrainerActor
from .run.checkpoint import EVERY_S as EVERY_S
from .run.learner_pool import Assignment as Assignment
from .run.learner_pool import Crew as Crew
from .run.learner_pool import LearnersLost as LearnersLost
from .run.learner_pool import Merge as Merge
from .run.learner_pool import Room as Room
from .run.local_pool import LocalCrew as LocalCrew
from .run.progress import Figures as Figures
from .run.rounds import Plan as Plan
from .run.rounds import Rounds as Rounds
from .run.schedule import Lease as Lease
from .run.trainer import Agreed as Agreed
from .run.trainer import LearnerFactory as LearnerFactory
from .run.trainer import Trainer as Trainer
from .run.trainer import cpu_learner as cpu_learner
from .run.trainer import cuda_learner as cuda_learner
from .run.training import Listeners as Listeners
from .run.training import Summary as Summary
from .run.training import train_word2vec as train_word2vec
from .run.work_folder import SUFFIX as SUFFIX
from .settings import CBOW_LEARNING_RATE as CBOW_LEARNING_RATE
from .settings import LEARNING_RATE as LEARNING_RATE
from .settings import Word2VecSettings as Word2VecSettings
from .tables import Floats as Floats
from .tables import Tables as Tables

__all__ = [
    "AUTO",
    "Agreed",
    "Assignment",
    "AveragingSettings",
    "CBOW_LEARNING_RATE",
    "CPU",
    "CUDA",
    "CorpusSettings",
    "CpuLearner",
    "Crew",
    "DEVICES",
    "EVERY_S",
    "EncodedCorpus",
    "Figures",
    "Floats",
    "Ids",
    "LEARNING_RATE",
    "Learner",
    "LearnerFactory",
    "LearnersLost",
    "Lease",
    "Listeners",
    "LocalCrew",
    "Merge",
    "Place",
    "Plan",
    "Room",
    "Rounds",
    "SUFFIX",
    "Scheme",
    "Summary",
    "Tables",
    "TorchLearner",
    "Trained",
    "Trainer",
    "TrainerActor",
    "TrainingError",
    "Vocabulary",
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
]
