from __future__ import annotations

from dataclasses import replace

import pytest

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import (
    Job,
    JobSettings,
    ModelIdentity,
    difference,
    options_of,
    plan_job,
    vector_fingerprint,
)
from shoal.cluster.jobs.encode.pipeline import Replicas
from shoal.records import Fields, InputFile
from shoal.workers.encoding.model import AS_DOCUMENT, AS_QUERY, EncodeOptions, Truncation

MODEL = ModelIdentity("f" * 32, 64, 512, "float32")
FILES = [InputFile("/a.jsonl", "a.jsonl", 10, 1), InputFile("/b.jsonl", "b.jsonl", 20, 2)]
SETTINGS = JobSettings("m", fields=Fields("doi", ("abstract",), ("year",)))


def job(settings: JobSettings = SETTINGS, model: ModelIdentity = MODEL, files: list[InputFile] = FILES) -> Job:
    return plan_job("job", settings, model, files)


def test_a_description_reads_back():
    assert Job.from_json(job().to_json(), "out/job.json") == job()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 1}', job().to_json().replace(b'"bytes"', b'"size"')])
def test_a_damaged_description_is_reported(data: bytes):
    with pytest.raises(JobError, match=r"out/job\.json: not the description of a job"):
        Job.from_json(data, "out/job.json")


def test_a_description_of_another_version_is_reported():
    with pytest.raises(JobError, match="format 9, but this version of Shoal reads format 1"):
        Job.from_json(job().to_json().replace(b'"format": 1', b'"format": 9'), "out/job.json")


def test_the_same_job_has_no_differences():
    again = plan_job("another id", replace(SETTINGS, model="the same by another name"), MODEL, FILES)
    assert difference(job(), again) == ""


@pytest.mark.parametrize(
    ("now", "difference_text"),
    [
        (job(model=replace(MODEL, fingerprint="0" * 32)), "model m (fingerprint ffff"),
        (job(replace(SETTINGS, dtype="float16")), 'it was started with dtype "float32", not "float16"'),
        (job(replace(SETTINGS, part_rows=7)), "it was started with part_rows 4096, not 7"),
        (job(replace(SETTINGS, options=AS_QUERY)), 'it was started with role "document", not "query"'),
        (job(replace(SETTINGS, fields=Fields("doi", ("abstract",)))), 'it was started with keep ["year"], not null'),
        (job(files=FILES[:1]), "input /b.jsonl no longer exists"),
        (job(files=[*FILES, InputFile("/c.csv", "c.csv", 1, 1)]), "input /c.csv did not exist when it was started"),
        (job(files=[FILES[0], replace(FILES[1], modified_ns=3)]), "input /b.jsonl has changed since it was started"),
        (job(files=FILES[::-1]), "its inputs were given in a different order"),
    ],
)
def test_another_job_is_distinguished(now: Job, difference_text: str):
    assert difference(job(), now).startswith(difference_text) or difference_text in difference(job(), now)


def test_only_vectors_as_documents_have_them_get_the_models_fingerprint():
    assert vector_fingerprint("f", AS_DOCUMENT) == "f"
    assert vector_fingerprint("f", EncodeOptions(truncation=Truncation.REFUSE)) == "f"
    others = [
        AS_QUERY,
        EncodeOptions(prompt=""),
        EncodeOptions(dimensions=8),
        EncodeOptions(normalize=False),
        EncodeOptions(truncation=Truncation.START),
    ]
    assert len({vector_fingerprint("f", options) for options in (AS_DOCUMENT, *others)}) == 6
    assert vector_fingerprint("g", AS_QUERY) != vector_fingerprint("f", AS_QUERY)


def test_dimensions_are_bounded_by_the_models():
    assert job(replace(SETTINGS, options=EncodeOptions(dimensions=16))).dimension == 16
    with pytest.raises(JobError, match="--dimensions 65: vectors of model 'm' have 64"):
        job(replace(SETTINGS, options=EncodeOptions(dimensions=65)))


def test_options_are_parsed_by_name():
    assert options_of("query", "p", 8, False, "refuse") == EncodeOptions(AS_QUERY.role, "p", 8, False, Truncation.REFUSE)


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.5, None), (2.0, None)])
def test_only_encoders_with_a_share_of_a_gpu_use_one(gpus: float, device: str | None):
    assert Replicas(1, 1, gpus).device == device
