"""Loads a model by its name. Heavy libraries are imported only for models that need them."""

from collections.abc import Callable

from shoal.workers.encoding.loading.sources import FileSpec, HashingSpec, locate, parse_spec, split_precision
from shoal.workers.encoding.model import EmbeddingModel, ModelError
from shoal.workers.encoding.networks.precision import Precision
from shoal.workers.encoding.static.hashing_model import HashingModel
from shoal.workers.encoding.static.static_folder import static_part
from shoal.workers.encoding.static.table_model import static_model, word_folder_model, word_model
from shoal.workers.encoding.word_vectors.word_folder import is_word_folder


def load_model(
    model: str,
    threads: int,
    precision: Precision | None = None,
    progress: Callable[[str], None] = lambda _: None,
    device: str | None = None,
) -> EmbeddingModel:
    """Loads the model that `model` names (see `sources.parse_spec`); a precision after it, such as "@int8", overrides
    `precision`.

    `threads` is how many CPU cores the model may use. `precision` None takes the fastest number type of the hardware whose
    vectors are close enough to those of float32. `progress` is called with the current step, in a few words for people to
    read. `device` is a torch device name; None takes a GPU if there is one.
    Blocks until the weights are loaded, and downloaded if needed. Raises ModelError with a one-line reason.
    """
    if threads < 1:
        raise ModelError(model, f"threads must be at least 1, not {threads}")
    named, asked = split_precision(model)
    precision = asked or precision
    spec = parse_spec(named)
    if asked is not None and isinstance(spec, HashingSpec | FileSpec):
        raise ModelError(model, f"this kind of model does not support {asked.value}")
    if isinstance(spec, HashingSpec):
        return HashingModel(spec.dimension, name=model)
    progress("finding the model")
    if isinstance(spec, FileSpec):
        return word_model(spec.file, name=model)
    folder = locate(model, spec)
    table_model = word_folder_model if is_word_folder(folder) else static_model if static_part(folder) is not None else None
    if table_model is not None:
        if asked is not None:
            raise ModelError(model, f"this kind of model does not support {asked.value}")
        return table_model(folder, name=model)
    try:
        from shoal.workers.encoding.transformer.transformer_model import TransformerModel
    except ImportError as error:
        raise ModelError(model, f"needs torch and transformers (pip install 'shoal[cluster]'): {error}") from None
    progress("reading weights")
    return TransformerModel(folder, name=model, threads=threads, device=device, precision=precision)
