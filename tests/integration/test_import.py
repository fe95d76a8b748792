"""Output of `shoal encode` is imported with its vectors, once, and only into a collection that fits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from shoal.client import Client
from shoal.cluster.jobs.encode.job import JobSettings
from shoal.workers.encoding.model import AS_QUERY, Tokenized, Vectors
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.cluster_process import ClusterProcess, shoal
from support.encoded_output import write_output

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

MODEL = "hashing:64"
ROWS = [{"id": f"d{number}", "text": f"text of number {number}", "year": number} for number in range(300)]


class Backwards(HashingModel):
    """Gives other vectors than the cluster's encoder under the same fingerprint, which shows whose were used."""

    def forward(self, batch: Sequence[Tokenized]) -> Vectors:
        return np.ascontiguousarray(super().forward(batch)[:, ::-1])


def imported(cluster: ClusterProcess, name: str, output: object, *options: str) -> tuple[int, dict[str, Any], list[str]]:
    """Exit code, what was printed as JSON, and the lines on stderr."""
    done = shoal("import", name, str(output), "--address", cluster.address, "--json", *options)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr.splitlines()


def test_searches_use_the_vectors_of_the_output(cluster: ClusterProcess, client: Client, tmp_path: Path) -> None:
    output = write_output(tmp_path, ROWS, Backwards(64), JobSettings(MODEL, part_rows=64))
    client.create_collection("whole", model=MODEL)
    code, result, _ = imported(cluster, "whole", output, "--wait")
    assert (code, result["written"], result["changed"], result["bad_rows"]) == (0, 300, 300, 0)
    vector = HashingModel(64).encode(["text of number 7"]).vectors[0]
    answer = client.search("whole", vector[::-1], k=1, include_text=True, token=result["token"])
    assert (answer[0].id, answer[0].text, answer[0].payload) == ("d7", "text of number 7", {"year": 7})
    assert answer[0].score == pytest.approx(1.0, abs=1e-5)
    assert client.search("whole", vector, k=1)[0].score < 0.9

    # Again, and with `shoal add`: the documents are the same, so nothing changes and nothing is encoded.
    code, result, _ = imported(cluster, "whole", output, "--wait")
    assert (code, result["written"], result["changed"]) == (0, 300, 0)
    added = shoal("add", "whole", str(tmp_path / "rows.jsonl"), "--address", cluster.address, "--json", "--wait")
    assert json.loads(added.stdout)["changed"] == 0, added
    assert client.search("whole", vector[::-1], k=1)[0].score == pytest.approx(1.0, abs=1e-5)

    # An edit is embedded by the cluster, and importing the old text again brings the old vector back with it.
    (tmp_path / "edit.jsonl").write_text(json.dumps({**ROWS[7], "text": "something else"}) + "\n")
    shoal("add", "whole", str(tmp_path / "edit.jsonl"), "--address", cluster.address, "--wait")
    edited = HashingModel(64).encode(["something else"]).vectors[0]
    assert client.search("whole", edited, k=1)[0].id == "d7"
    assert imported(cluster, "whole", output, "--wait")[1]["changed"] == 1
    assert client.search("whole", vector[::-1], k=1)[0].id == "d7"


def test_half_precision_is_imported_as_float32(cluster: ClusterProcess, client: Client, tmp_path: Path) -> None:
    output = write_output(tmp_path, ROWS[:50], HashingModel(64), JobSettings(MODEL, dtype="float16"))
    client.create_collection("halves", model=MODEL)
    assert imported(cluster, "halves", output, "--wait")[1]["changed"] == 50
    assert client.search("halves", "text of number 3", k=1)[0].score == pytest.approx(1.0, abs=1e-3)


def test_other_vectors_are_refused(cluster: ClusterProcess, client: Client, tmp_path: Path) -> None:
    client.create_collection("other", model="hashing:32")
    for number, (model, options) in enumerate([(HashingModel(64), JobSettings(MODEL)), (HashingModel(32), AS_QUERY)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = options if isinstance(options, JobSettings) else JobSettings("hashing:32", options)
        output = write_output(folder, ROWS[:5], model, settings)
        code, result, [line] = imported(cluster, "other", output)
        fingerprint = json.loads((output / "job.json").read_text())["fingerprint"]
        assert (code, result) == (1, {})
        has = f"but collection other has hashing:32 ({HashingModel(32).fingerprint})"
        made = f"shoal: {output}: its vectors are of {settings.model} ({fingerprint}), {has}"
        assert line.startswith(made)
        assert line.endswith(": the same model, but with another role, prompt, dimensions, normalization or truncation") == (
            number == 1
        )
    assert client.get_collection("other").documents == 0


def test_a_tampered_row_is_refused_alone(cluster: ClusterProcess, client: Client, tmp_path: Path) -> None:
    output = write_output(tmp_path, ROWS[:20], HashingModel(64), JobSettings(MODEL, part_rows=10))
    path = output / "part-000000-000001.parquet"
    table = pyarrow.parquet.read_table(path)
    texts = table.column("text").to_pylist()
    texts[3] = "another text, for which the vector is not"
    position = table.schema.get_field_index("text")
    pyarrow.parquet.write_table(table.set_column(position, table.schema.field("text"), pa.array(texts)), path)
    client.create_collection("tampered", model=MODEL)
    code, result, lines = imported(cluster, "tampered", output, "--wait")
    assert (code, result["written"], result["bad_rows"]) == (1, 19, 1)
    assert lines[0].startswith(
        f"{path}:4: embedding.content_hash refused: document 'd13': does not match the document's text"
    )
    assert lines[-1] == "shoal: 1 row was not imported to tampered: 1 embedding.content_hash refused"


def test_output_that_is_not_finished_is_refused(cluster: ClusterProcess, client: Client, tmp_path: Path) -> None:
    client.create_collection("strict", model=MODEL)
    result = imported(cluster, "strict", tmp_path / "nothing")[2]
    assert result[0].startswith(f"shoal: {tmp_path}/nothing: cannot be read: ")
    result = imported(cluster, "strict", tmp_path)[2]
    assert result == [f"shoal: {tmp_path}: no job.json: not a folder that shoal encode wrote"]
    output = write_output(tmp_path, ROWS[:20], HashingModel(64), JobSettings(MODEL))
    (output / "part-000000-000000.parquet").write_bytes(b"PAR1 nonsense")
    code, result, lines = imported(cluster, "strict", output)
    assert (code, result["written"]) == (1, 0)
    assert lines[0].startswith(f"{output}/part-000000-000000.parquet:1: not Parquet: rows 1 to 20: ")
    assert lines[1:] == ["shoal: 1 row was not imported to strict: 1 not Parquet"]
    (output / "summary.json").unlink()
    result = imported(cluster, "strict", output)[2]
    assert result == [f"shoal: {output}: the job has not finished: run the same shoal encode again"]
