from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow.parquet
import pytest

from shoal.cluster.decisions.admission import content_hash
from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.input_record import InputRecord
from shoal.cluster.jobs.encode.job import JobSettings, ModelIdentity, plan_job
from shoal.cluster.jobs.encode.output import OutputFolder
from shoal.cluster.jobs.encode.part_writer import MOST_ATTEMPTS, PartReport, PartWriter
from shoal.cluster.jobs.encode.parts import PartId
from shoal.cluster.jobs.encode.reading import PartRecords, RecordPosition
from shoal.records import BadRow
from shoal.workers.encoding.batching import BatchBounds
from shoal.workers.encoding.model import EncodeOptions, ModelError, Tokenized, Vectors
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.cluster_process import eventually
from support.encoded_output import stalled

TEXTS = [f"text number {number} " + "word " * (number % 7) for number in range(40)]


class FragileModel(HashingModel):
    """Breaks on some words, alone or with their batch."""

    bounds = BatchBounds(tokens=40)
    inference_threads = 2

    def __init__(self) -> None:
        super().__init__(16)
        self.entered = 0
        self.batches: list[int] = []

    def init_inference_thread(self) -> None:
        self.entered += 1

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        words = [word for text in batch for word in text.content]
        if "gone" in words:
            raise ModelError(self.name, "the device is gone")
        if "poison" in words:
            raise ValueError("cannot\nread this")
        self.batches.append(len(batch))
        vectors = super().forward(batch)
        for row, text in enumerate(batch):
            if "huge" in text.content:
                vectors[row] *= 1e6
            if "nan" in text.content:
                vectors[row, 0] = np.nan
        return vectors


def a_part(texts: Sequence[str], bad: Sequence[BadRow] = (), index: int = 0) -> PartRecords:
    records = [
        (RecordPosition("in.jsonl", line, 0), InputRecord(f"d{line}", text, '{"n":1}')) for line, text in enumerate(texts, 1)
    ]
    rows = [(RecordPosition("in.jsonl", row.line, 0), row) for row in bad]
    return PartRecords(PartId(0, index), True, records, rows, 10, ["in.jsonl"])


def encoder(folder: Path, settings: JobSettings | None = None, model: HashingModel | None = None) -> PartWriter:
    settings, model = settings or JobSettings("hashing:16"), model or FragileModel()
    output = OutputFolder(str(folder))
    identity = ModelIdentity(model.fingerprint, model.dimension, model.max_tokens, model.precision)
    job = plan_job("job", settings, identity, [])
    job = output.begin(job, overwrite=False)
    output.close()
    return PartWriter(model, job, settings, output, stalled)


def rows(folder: Path, report: PartReport) -> list[dict[str, object]]:
    assert report.manifest.data is not None
    return pyarrow.parquet.read_table(folder / report.manifest.data.path).to_pylist()


def errors(folder: Path, report: PartReport) -> list[dict[str, object]]:
    assert report.manifest.errors is not None
    return [json.loads(line) for line in (folder / report.manifest.errors.path).read_text().splitlines()]


def test_vectors_are_those_of_the_model(tmp_path: Path):
    model = FragileModel()
    report = encoder(tmp_path, model=model).encode(a_part(TEXTS))
    assert len(model.batches) > 5 and model.entered <= model.inference_threads
    found = rows(tmp_path, report)
    expected = HashingModel(16).encode(TEXTS)
    assert np.array_equal(np.array([row["vector"] for row in found], dtype=np.float32), expected.vectors)
    assert [row["tokens"] for row in found] == expected.tokens
    assert [row["id"] for row in found] == [f"d{line}" for line in range(1, 41)]
    assert [row["text"] for row in found] == TEXTS
    assert {row["fingerprint"] for row in found} == {model.fingerprint}
    assert [row["content_hash"] for row in found] == [content_hash(text, b"") for text in TEXTS]
    assert {row["payload"] for row in found} == {'{"n":1}'}
    manifest = report.manifest
    assert (manifest.rows, manifest.bad_rows, manifest.tokens) == (40, 0, sum(expected.tokens))


def test_the_same_part_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        encoder(tmp_path / name).encode(a_part(TEXTS))
    first, second = (tmp_path / name / "part-000000-000000.parquet" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_bad_rows_are_kept_with_their_reasons_and_spoil_no_others(tmp_path: Path):
    texts = ["good one", "poison", "  ", "nan", "good two"]
    report = encoder(tmp_path).encode(a_part(texts, [BadRow(3, "not JSON"), BadRow(9, "not an object", "x")]))
    assert [row["id"] for row in rows(tmp_path, report)] == ["d1", "d5"]
    reasons = [(error["line"], error["id"], error["reason"]) for error in errors(tmp_path, report)]
    assert reasons == [
        (2, "d2", "the model failed: ValueError: cannot read this"),
        (3, "", "not JSON"),
        (3, "d3", "text is empty or only whitespace"),
        (4, "d4", "the model gave a vector with NaN or infinity"),
        (9, "x", "not an object"),
    ]
    assert (report.manifest.rows, report.manifest.bad_rows) == (2, 5)
    assert report.rejected[0].message == "in.jsonl:2: the model failed: ValueError: cannot read this"


def test_bad_rows_come_in_the_order_of_the_input_and_nulls_are_counted(tmp_path: Path):
    good = (RecordPosition("b.jsonl", 2, 0), InputRecord("x", "text", '{"n":null}', ("n",)))
    bad = [(RecordPosition(source, line, 0), BadRow(line, "no")) for source, line in [("b.jsonl", 1), ("a.jsonl", 1)]]
    part = PartRecords(PartId(0, 0), True, [good], [*reversed(bad)], 10, ["b.jsonl", "a.jsonl"])
    report = encoder(tmp_path).encode(part)
    assert [row.message for row in report.rejected] == ["b.jsonl:1: no", "a.jsonl:1: no"]
    assert report.nulls == {"n": 1}


def test_a_part_without_a_good_row_has_no_data(tmp_path: Path):
    report = encoder(tmp_path).encode(a_part([" "]))
    assert report.manifest.data is None and report.manifest.bad_rows == 1
    empty = encoder(tmp_path).encode(a_part([], index=1)).manifest
    assert (empty.data, empty.errors, empty.rows) == (None, None, 0)


def test_float16_is_half_as_exact_and_bounded(tmp_path: Path):
    settings = JobSettings("hashing:16", dtype="float16")
    report = encoder(tmp_path, settings).encode(a_part(["good one", "huge"]))
    [row] = rows(tmp_path, report)
    exact = HashingModel(16).encode(["good one"]).vectors[0]
    assert row["vector"] == exact.astype(np.float16).tolist() and row["vector"] != exact.tolist()
    assert errors(tmp_path, report)[0]["reason"] == "the vector has numbers beyond the range of float16"
    schema = pyarrow.parquet.read_schema(tmp_path / "part-000000-000000.parquet")
    assert str(schema.field("vector").type) == "fixed_size_list<element: halffloat not null>[16]"


def test_options_reach_the_model(tmp_path: Path):
    settings = JobSettings("hashing:16", EncodeOptions(dimensions=8, prompt="about "))
    report = encoder(tmp_path, settings).encode(a_part(["moon"]))
    [row] = rows(tmp_path, report)
    expected = HashingModel(16).encode(["moon"], settings.options).vectors[0]
    assert row["vector"] == expected.tolist() and row["fingerprint"] != HashingModel(16).fingerprint


def test_a_prompt_that_leaves_no_room_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def tokenize(self: HashingModel, texts: Sequence[str], options: EncodeOptions) -> list[Tokenized]:
        raise ValueError("the prompt has 600 tokens, the model reads 512")

    monkeypatch.setattr(HashingModel, "tokenize", tokenize)
    with pytest.raises(JobError, match="the prompt has 600 tokens"):
        encoder(tmp_path).encode(a_part(["good"]))


def test_a_lost_model_ends_the_part_and_nothing_counts(tmp_path: Path):
    one = encoder(tmp_path)
    with pytest.raises(ModelError, match="the device is gone"):
        one.encode(a_part(["good", "gone"]))
    assert OutputFolder(str(tmp_path)).finished() == []


def test_a_part_on_which_processes_keep_dying_is_reported(tmp_path: Path):
    one = encoder(tmp_path)
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(ModelError):
            one.encode(a_part(["gone"]))
    with pytest.raises(JobError, match=r"part-000000-000000 \(from in\.jsonl:1 on\): the encoder process died 5 times"):
        one.encode(a_part(["gone"]))


class HeldModel(HashingModel):
    """Computes when the test lets it."""

    def __init__(self) -> None:
        super().__init__(16)
        self.begun, self.let = Event(), Event()

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        self.begun.set()
        assert self.let.wait(20)
        return super().forward(batch)


def test_a_part_that_was_started_before_runs_alone_in_its_process(tmp_path: Path):
    """Otherwise a part that waits next to one that kills processes would be blamed for it."""
    model = HeldModel()
    one = encoder(tmp_path, model=model)
    counted = OutputFolder(str(tmp_path))
    for index, attempts in ((0, 0), (1, 2), (2, 0), (3, MOST_ATTEMPTS - 1)):
        counted.count_attempts(PartId(0, index), attempts)
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(one.encode, a_part(["good"], index=3))]
        assert model.begun.wait(20)
        done += [threads.submit(one.encode, a_part(["good"], index=index)) for index in range(3)]
        assert not wait(done, 0.2).done
        assert [counted.attempts(PartId(0, index)) for index in range(4)] == [0, 2, 0, MOST_ATTEMPTS]
        model.let.set()
        assert [future.result(20).manifest.rows for future in done] == [1, 1, 1, 1]


def test_parts_that_were_not_started_before_share_a_process(tmp_path: Path):
    model = HeldModel()
    one = encoder(tmp_path, model=model)
    counted = OutputFolder(str(tmp_path))
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(one.encode, a_part(["good"], index=index)) for index in range(2)]
        eventually(lambda: [counted.attempts(PartId(0, index)) for index in range(2)] == [1, 1], "both parts are begun")
        model.let.set()
        assert [future.result(20).manifest.rows for future in done] == [1, 1]


def test_a_model_other_than_the_jobs_is_refused(tmp_path: Path):
    one = encoder(tmp_path)
    with pytest.raises(JobError, match=r"has fingerprint \w+ on \S+, but the job was started with \w+: "):
        PartWriter(HashingModel(32), one._job, one._settings, one._output, stalled)
