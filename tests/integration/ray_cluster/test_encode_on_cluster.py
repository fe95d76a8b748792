"""`shoal encode` on a Ray cluster that runs already and asks for a token: submitted as a job, and joined."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from shoal.workers.encoding.model import EncodeOptions
from shoal.workers.encoding.static.hashing_model import HashingModel
from support.encode_process import bad_rows, encoded, files
from support.ray_head import RayHead

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
MODEL = "hashing:64"
ROWS = [
    {"id": f"d{number}", "text": f"the text of number {number} " * (number % 5 + 1), "n": number} for number in range(300)
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows in every format, and two bad ones."""
    folder = tmp_path_factory.mktemp("corpus")
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS[:100]), folder / "a.parquet")
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[100:200]) + "no JSON\n")
    with (folder / "c.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["id", "text", "n"])
        table.writeheader()
        table.writerows([*ROWS[200:299], {"id": "blank", "text": " ", "n": 0}])
    (folder / "d.txt").write_text(str(ROWS[299]["text"]))
    return folder


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that failed with one line, and nothing else."""
    assert (done.returncode, done.stdout) == (1, ""), done
    [line] = done.stderr.splitlines()
    return line


def test_a_submitted_job_encodes_and_a_second_one_finds_nothing_to_do(head: RayHead, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["shoal", "encode", corpus, "--model", MODEL, "--output", output, "--part-rows", 64, "--json"]
    done = head.submit(*command)
    # The two bad rows make it fail, as they would make `shoal add`.
    assert done.returncode == 1 and "shoal: 2 rows were not encoded: " in done.stdout, done
    assert f"; see {output}/*.errors.jsonl" in done.stdout, done
    table = encoded(output)
    expected = HashingModel(64).encode([str(row["text"]) for row in ROWS])
    assert table.column("id").to_pylist() == [*(row["id"] for row in ROWS[:-1]), "d.txt"]
    assert table.column("text").to_pylist() == [row["text"] for row in ROWS]
    assert np.array_equal(np.array(table.column("vector").to_pylist(), dtype=np.float32), expected.vectors)
    assert [json.loads(payload) for payload in table.column("payload").to_pylist()[98:101]] == [
        {"n": 98},
        {"n": 99},
        {"n": 100},
    ]
    assert [(Path(row["source"]).name, row["line"], row["id"]) for row in bad_rows(output)] == [
        ("b.jsonl", 101, ""),
        ("c.csv", 101, "blank"),
    ]
    before = files(output)
    again = head.submit(*command)
    events = [json.loads(line) for line in again.stdout.splitlines() if line.startswith('{"event"')]
    assert [event["event"] for event in events][-2:] == ["started", "finished"], again
    assert (events[-1]["rows"], events[-1]["rows_here"], events[-1]["bad_rows"]) == (300, 0, 2)
    assert files(output) == before


def test_submitting_needs_the_token(head: RayHead, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = head.submit("shoal", "encode", corpus, "--model", MODEL, "--output", output, token="f" * 64)
    assert done.returncode != 0 and "token" in done.stdout + done.stderr
    assert not output.exists()


def test_options_formats_and_refusals(head: RayHead, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    job = ["encode", corpus / "a.parquet", "--model", MODEL, "--output", output, "--threads", 1, "--replicas", 2]
    options = ["--dimensions", 16, "--dtype", "float16", "--prompt", "about ", "--no-payload", "--part-rows", 30]
    done = head.run(*job, *options)
    assert done.returncode == 0 and done.stdout.startswith(f"100 rows in {output}, 100 of them encoded now"), done
    table = encoded(output)
    texts = [str(row["text"]) for row in ROWS[:100]]
    expected = HashingModel(64).encode(texts, EncodeOptions(dimensions=16, prompt="about ")).vectors
    found = np.array(table.column("vector").to_pylist(), dtype=np.float16)
    assert np.array_equal(found, expected.astype(np.float16))
    assert set(table.column("payload").to_pylist()) == {"{}"}
    assert str(table.schema.field("vector").type).endswith("halffloat not null>[16]")

    message = one_line(head.run(*job))
    assert message == (
        f'shoal: {output}: contains another job: it was started with prompt "about ", not null; choose another --output, '
        "or use --overwrite"
    )
    message = one_line(head.run("encode", corpus, "--model", "no/such-model", "--output", tmp_path / "none"))
    assert message.startswith("shoal: model 'no/such-model': ")
    message = one_line(head.run("encode", corpus, "--model", MODEL, "--output", tmp_path / "none", "--gpus", 1))
    assert message == "shoal: --gpus 1: the Ray cluster has 0"
    assert not (tmp_path / "none").exists()


def test_a_part_that_cannot_be_written_ends_the_job_and_a_later_run_goes_on(
    head: RayHead, corpus: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    obstacle = output / "part-000000-000003.parquet"
    obstacle.mkdir(parents=True)
    job = ["encode", corpus / "a.parquet", "--model", MODEL, "--output", output, "--threads", 1, "--part-rows", 20]
    done = head.run(*job)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.splitlines()[-1] == f"shoal: {obstacle}: cannot be written: Is a directory"
    obstacle.rmdir()
    # The actors run in folders of their own, and must find the same one.
    done = head.run(*("out" if part is output else part for part in job), cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("100 rows in out, "), done
    assert encoded(output).column("id").to_pylist() == [row["id"] for row in ROWS[:100]]
