"""What a job is: its settings, the input it was begun with, and whether another run of it is the same job. Pure.

Where its description is kept is `output`'s business.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.cluster.jobs.encode.errors import JobError
from shoal.records import USUAL_FIELDS, Fields, InputFile
from shoal.workers.encoding.model import AS_DOCUMENT, EncodeOptions, Role, Truncation

FORMAT = 1
DEFAULT_PART_ROWS = 4096


@dataclass(frozen=True, slots=True)
class JobSettings:
    """All that decides what a job writes, beside the model's own files and the input."""

    model: str
    options: EncodeOptions = AS_DOCUMENT
    fields: Fields = USUAL_FIELDS
    dtype: str = "float32"
    part_rows: int = DEFAULT_PART_ROWS
    """Rows of the input, good and bad, that are committed together."""

    def values(self) -> dict[str, Any]:
        """The settings by name, in terms of JSON; the model is known by its fingerprint and so is left out."""
        options = self.options
        return {
            "role": options.role.value,
            "prompt": options.prompt,
            "dimensions": options.dimensions,
            "normalize": options.normalize,
            "truncation": options.truncation.value,
            "dtype": self.dtype,
            "id_field": self.fields.id,
            "text_fields": list(self.fields.text),
            "keep": None if self.fields.keep is None else list(self.fields.keep),
            # The name that folders of earlier versions have.
            "shard_rows": self.part_rows,
        }


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What is known of the model once it has been loaded."""

    fingerprint: str
    dimension: int
    max_tokens: int
    precision: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is written down beside its output."""

    id: str
    """Random: shows whether a folder is the same on another machine."""
    model: str
    model_fingerprint: str
    fingerprint: str
    """What its vectors compare with; see `vector_fingerprint`."""
    dimension: int
    settings: Mapping[str, Any]
    inputs: Sequence[InputFile]

    def to_json(self) -> bytes:
        """One JSON object."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, ensure_ascii=False, indent=1).encode()

    @staticmethod
    def from_json(data: bytes, where: str) -> Job:
        """Raises JobError, naming `where`, when it is not the description of a job."""
        try:
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise JobError(f"{where}: has format {values['format']}, this version of Shoal reads {FORMAT}")
            names = [field.name for field in dataclasses.fields(Job) if field.name != "inputs"]
            return Job(**{name: values[name] for name in names}, inputs=[InputFile(**file) for file in values["inputs"]])
        except (ValueError, KeyError, TypeError) as error:
            raise JobError(f"{where}: is not the description of a job: {error}") from error


def vector_fingerprint(model_fingerprint: str, options: EncodeOptions) -> str:
    """The model's own fingerprint where `options` give the vectors that a collection has of its documents, else another.

    Vectors with other prompts, dimensions and the like must not be taken for those.
    """
    # Refusing long texts changes no vector of the others.
    decisive = (
        dataclasses.replace(options, truncation=Truncation.END) if options.truncation is Truncation.REFUSE else options
    )
    if decisive == AS_DOCUMENT:
        return model_fingerprint
    named = {"role": decisive.role.value, "prompt": decisive.prompt, "dimensions": decisive.dimensions}
    named |= {"normalize": decisive.normalize, "truncation": decisive.truncation.value}
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([model_fingerprint, named], sort_keys=True).encode())
    return digest.hexdigest()


def plan_job(id: str, settings: JobSettings, model: ModelIdentity, inputs: Sequence[InputFile]) -> Job:
    """The job of these settings; raises JobError when the model cannot do as asked."""
    dimensions = settings.options.dimensions
    if dimensions > model.dimension:
        raise JobError(f"--dimensions {dimensions}: model {settings.model!r} makes vectors of {model.dimension}")
    return Job(
        id=id,
        model=settings.model,
        model_fingerprint=model.fingerprint,
        fingerprint=vector_fingerprint(model.fingerprint, settings.options),
        dimension=dimensions or model.dimension,
        settings=settings.values(),
        inputs=inputs,
    )


def difference(begun: Job, now: Job) -> str:
    """Why `now` is another job than the one that was begun, in words; empty when it is the same."""
    if begun.model_fingerprint != now.model_fingerprint:
        told = f"{begun.model} (fingerprint {begun.model_fingerprint})"
        return f"it was begun with model {told}, not {now.model} ({now.model_fingerprint})"
    for name, value in now.settings.items():
        if (before := begun.settings.get(name)) != value:
            shown = "part_rows" if name == "shard_rows" else name
            return f"it was begun with {shown} {json.dumps(before)}, not {json.dumps(value)}"
    files = {file.path: file for file in begun.inputs}
    for file in now.inputs:
        if (held := files.pop(file.path, None)) is None:
            return f"input {file.path} was not there when it was begun"
        if held != file:
            return f"input {file.path} has changed since it was begun"
    for path in files:
        return f"input {path} is not there any more"
    if list(begun.inputs) != list(now.inputs):
        return "its inputs were given in another order"
    return ""


def options_of(role: str, prompt: str | None, dimensions: int, normalize: bool | None, truncation: str) -> EncodeOptions:
    """Options from their names."""
    return EncodeOptions(Role(role), prompt, dimensions, normalize, Truncation(truncation))
