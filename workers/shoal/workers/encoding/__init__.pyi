from .batching import BatchBounds as BatchBounds
from .batching import plan_batches as plan_batches
from .engine.engine import EncoderEngine as EncoderEngine
from .engine.engine import EngineState as EngineState
from .engine.inference_threads import InferenceThreads as InferenceThreads
from .loading.loading import load_model as load_model
from .loading.sources import packaged_folder as packaged_folder
from .loading.sources import parse_spec as parse_spec
from .loading.sources import split_precision as split_precision
from .model import AS_DOCUMENT as AS_DOCUMENT
from .model import AS_QUERY as AS_QUERY
from .model import DeviceLost as DeviceLost
from .model import EmbeddingModel as EmbeddingModel
from .model import Encoded as Encoded
from .model import EncodeOptions as EncodeOptions
from .model import Isolated as Isolated
from .model import ModelError as ModelError
from .model import Role as Role
from .model import Tokenized as Tokenized
from .model import Truncation as Truncation
from .networks.precision import Precision as Precision
from .networks.pretrained import load_pretrained as load_pretrained
from .replica.actor import EncoderActor as EncoderActor
from .replica.process_end import end_process as end_process
from .words import LONGEST_WORD as LONGEST_WORD
from .words import WORD_RULE as WORD_RULE
from .words import composed as composed
from .words import cut_word as cut_word
from .words import lowered as lowered
from .words import normal_form as normal_form
from .words import raw_words_of as raw_words_of

__all__ = [
    "AS_DOCUMENT",
    "AS_QUERY",
    "BatchBounds",
    "DeviceLost",
    "EmbeddingModel",
    "EncodeOptions",
    "Encoded",
    "EncoderActor",
    "EncoderEngine",
    "EngineState",
    "InferenceThreads",
    "Isolated",
    "LONGEST_WORD",
    "ModelError",
    "Precision",
    "Role",
    "Tokenized",
    "Truncation",
    "WORD_RULE",
    "composed",
    "cut_word",
    "end_process",
    "load_model",
    "load_pretrained",
    "lowered",
    "normal_form",
    "packaged_folder",
    "parse_spec",
    "plan_batches",
    "raw_words_of",
    "split_precision",
]
