"""A job: its settings and input, and whether two runs are of the same job. Pure; `output` stores the description."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.cluster.jobs.encode.errors import JobError
from shoal.records import USUAL_FIELDS, Fields, InputFile
from shoal.workers.encoding import AS_DOCUMENT, EncodeOptions, Role, Truncation

FORMAT = 1
DEFAULT_PART_ROWS = 4096


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Everything that decides what a job writes, except the model files and the input."""

    model: str
    options: EncodeOptions = AS_DOCUMENT
    fields: Fields = USUAL_FIELDS
    dtype: str = "float32"
    part_rows: int = DEFAULT_PART_ROWS
    """Input rows, good and bad, that are committed together."""

    def values(self) -> dict[str, Any]:
        """The settings by name, as JSON values, without the model: its fingerprint identifies it."""
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
            # The name in folders of earlier versions.
            "shard_rows": self.part_rows,
        }


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What is known of a model after loading it."""

    fingerprint: str
    dimension: int
    max_tokens: int
    precision: str


@dataclass(frozen=True, slots=True)
class Job:
    """The description of a job, stored with its output."""

    id: str
    """Random; shows whether another machine sees the same folder."""
    model: str
    model_fingerprint: str
    fingerprint: str
    """See `vector_fingerprint`."""
    dimension: int
    settings: Mapping[str, Any]
    inputs: Sequence[InputFile]

    def to_json(self) -> bytes:
        """One JSON object."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, ensure_ascii=False, indent=1).encode()

    @staticmethod
    def from_json(data: bytes, where: str) -> Job:
        """Reads what `to_json` wrote. Raises JobError, naming `where`, when it is not the description of a job."""
        try:
            values = json.loads(data)
            if values["format"] != FORMAT:
                raise JobError(f"{where}: format {values['format']}, but this version of Shoal reads format {FORMAT}")
            names = [field.name for field in dataclasses.fields(Job) if field.name != "inputs"]
            return Job(**{name: values[name] for name in names}, inputs=[InputFile(**file) for file in values["inputs"]])
        except (ValueError, KeyError, TypeError) as error:
            raise JobError(f"{where}: not the description of a job: {error}") from error


def vector_fingerprint(model_fingerprint: str, options: EncodeOptions) -> str:
    """The model's fingerprint if `options` give the vectors that a collection stores for documents; otherwise another one.

    Vectors with another prompt, dimension and so on must not be mistaken for those.
    """
    # Refusing long texts does not change the vectors of the others.
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
    """The job with these settings. Raises JobError when the model does not support them."""
    dimensions = settings.options.dimensions
    if dimensions > model.dimension:
        raise JobError(f"--dimensions {dimensions}: vectors of model {settings.model!r} have {model.dimension}")
    return Job(
        id=id,
        model=settings.model,
        model_fingerprint=model.fingerprint,
        fingerprint=vector_fingerprint(model.fingerprint, settings.options),
        dimension=dimensions or model.dimension,
        settings=settings.values(),
        inputs=inputs,
    )


def difference(before: Job, now: Job) -> str:
    """How `now` differs from the job that was started before, in words; empty when it is the same job."""
    if before.model_fingerprint != now.model_fingerprint:
        model = f"{before.model} (fingerprint {before.model_fingerprint})"
        return f"it was started with model {model}, not {now.model} ({now.model_fingerprint})"
    for name, value in now.settings.items():
        if (old := before.settings.get(name)) != value:
            shown = "part_rows" if name == "shard_rows" else name
            return f"it was started with {shown} {json.dumps(old)}, not {json.dumps(value)}"
    files = {file.path: file for file in before.inputs}
    for file in now.inputs:
        if (held := files.pop(file.path, None)) is None:
            return f"input {file.path} did not exist when it was started"
        if held != file:
            return f"input {file.path} has changed since it was started"
    for path in files:
        return f"input {path} no longer exists"
    if list(before.inputs) != list(now.inputs):
        return "its inputs were given in a different order"
    return ""


def options_of(role: str, prompt: str | None, dimensions: int, normalize: bool | None, truncation: str) -> EncodeOptions:
    """The options for values of the command line."""
    return EncodeOptions(Role(role), prompt, dimensions, normalize, Truncation(truncation))
