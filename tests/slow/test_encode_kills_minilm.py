"""20,000 real documents with the real model: kill -9 of a replica and of the driver in the middle of the job."""

from __future__ import annotations

import json
import lzma
import signal
import sys
from pathlib import Path

import pytest

from support.encode_process import EncodeProcess, encode, encoded, files, finished_parts
from support.shared_data import shared_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
DOCUMENTS = 20_000
SHARD_ROWS = 500
SHARDS = DOCUMENTS // SHARD_ROWS
ENDED_S = 1800.0


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    corpus = tmp_path_factory.mktemp("corpus") / "passages.jsonl"
    with lzma.open(shared_data("corpus/wiki-passages-34k.jsonl.xz"), "rt", encoding="utf-8") as passages:
        corpus.write_text("".join(line for _, line in zip(range(DOCUMENTS), passages, strict=False)), encoding="utf-8")
    return [corpus, "--model", "all-MiniLM-L6-v2", "--shard-rows", SHARD_ROWS, "--json", "--output"]


@pytest.fixture(scope="module")
def undisturbed(arguments: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    done = encode(*arguments, output, within_s=ENDED_S)
    assert done.returncode == 0, done
    tell("undisturbed", done.stdout)
    return output


def tell(what: str, events: str) -> None:
    """Prints the results of a run."""
    done = json.loads(events.splitlines()[-1])
    rate = done["rows_here"] / done["seconds"]
    sys.stderr.write(
        f"\n{what}: {done['rows_here']} of {done['rows']} rows in {done['seconds']:.1f} s, {rate:.0f} texts/s\n"
    )


def check_equal(output: Path, undisturbed: Path) -> None:
    table = encoded(output)
    assert table.num_rows == DOCUMENTS and len(set(table.column("id").to_pylist())) == DOCUMENTS
    assert table.equals(encoded(undisturbed))
    assert files(output) == files(undisturbed)


def test_a_replica_is_killed(arguments: list[object], undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    running = EncodeProcess(*arguments, output)
    running.until(lambda: finished_parts(output) >= SHARDS // 3, "a third is finished", ENDED_S)
    [encoder] = running.encoders()
    encoder.kill()
    done = running.ended(ENDED_S)
    assert done.returncode == 0, done
    tell("a replica killed", done.stdout)
    check_equal(output, undisturbed)


def test_the_driver_is_killed(arguments: list[object], undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    running = EncodeProcess(*arguments, output)
    running.until(lambda: finished_parts(output) >= SHARDS // 3, "a third is finished", ENDED_S)
    running.send(signal.SIGKILL)
    running.ended()
    before = finished_parts(output)
    assert SHARDS // 3 <= before < SHARDS
    done = encode(*arguments, output, within_s=ENDED_S)
    assert done.returncode == 0, done
    tell(f"the driver killed after {before} of {SHARDS} shards, then resumed", done.stdout)
    assert json.loads(done.stdout.splitlines()[-1])["rows_here"] == DOCUMENTS - before * SHARD_ROWS
    check_equal(output, undisturbed)
