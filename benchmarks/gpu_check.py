"""All checks that need a GPU, in one command of at most eight minutes on one H100 or H200: the CUDA tests, the encoder
against sentence-transformers in bfloat16, and the CUDA Word2Vec learner against one thread of gensim.

    python benchmarks/gpu_check.py            # on a GPU machine
    python benchmarks/gpu_check.py --quick    # the same code on a CPU, with small sizes

It prints one table and writes it to --json after each part. Each part runs in a process of its own with its share of the
time: a part that fails, crashes or takes too long is reported, and the next one starts. It needs no network, no Ray and
no installed Shoal. Models have random weights and texts are made up, unless --corpus names a text for Word2Vec. The exit
code is 1 when a part failed. Not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [str(ROOT / name) for name in ("protos", "workers", "cluster", "client")]
if importlib.util.find_spec("shoal") is None:
    sys.path[1:1] = SOURCES

LEAST_SECONDS = 2
COLUMNS = "{:<30}{:>18}{:>18}{:>8}{:>9}  {}"


@dataclass(frozen=True)
class Part:
    """What one process checks."""

    name: str
    share: float
    """Of the whole time; the shares of all parts add up to 1."""
    rows: Callable[[argparse.Namespace], Iterator[dict[str, Any]]]
    """Called in the child process."""


def test_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from gpu.tests import run_tests

    yield run_tests(ROOT, arguments.quick)


def encoder_rows(size: int) -> Callable[[argparse.Namespace], Iterator[dict[str, Any]]]:
    def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
        from gpu.encoder import measure_encoder

        return measure_encoder(size, arguments.quick, arguments.seconds)

    return rows


def word2vec_rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from gpu.word2vec import measure_word2vec

    return measure_word2vec(arguments.corpus, arguments.quick, arguments.seconds)


PARTS = [
    Part("CUDA tests", 0.15, test_rows),
    Part("encoder of MiniLM size", 0.22, encoder_rows(0)),
    Part("encoder of BERT-large size", 0.38, encoder_rows(1)),
    Part("Word2Vec", 0.25, word2vec_rows),
]


def main() -> None:
    """Runs all parts, or in a child process the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="time for all parts together (default: 8, with --quick 20)")
    parser.add_argument("--json", type=Path, default=Path("gpu_check.json"), help="the results (default: gpu_check.json)")
    parser.add_argument("--corpus", type=Path, help="text for Word2Vec, plain or .xz (default: made-up text with topics)")
    parser.add_argument("--quick", action="store_true", help="small sizes; a CPU is enough")
    parser.add_argument("--only", metavar="WORD", help="only parts whose name contains WORD")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.minutes = arguments.minutes or (20 if arguments.quick else 8)
    if arguments.part is not None:
        run_as_child(PARTS[arguments.part], arguments)
        return
    if arguments.corpus is not None and not arguments.corpus.is_file():
        parser.error(f"--corpus: there is no file {arguments.corpus}")
    parts = [part for part in PARTS if (arguments.only or "").lower() in part.name.lower()]
    if not parts:
        parser.error(f"--only {arguments.only!r} matches no part: {', '.join(part.name for part in PARTS)}")
    machine = described_machine()
    if machine["device"] == "cpu" and not arguments.quick:
        raise SystemExit(f"gpu_check: no GPU here ({machine['missing']}); --quick runs the same code on a CPU")
    try:
        failed = run_parts(parts, machine, arguments)
    except KeyboardInterrupt:
        print(f"\nstopped; the parts that ended are in {arguments.json}", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(1 if failed else 0)


def described_machine() -> dict[str, Any]:
    """The device and the versions, found in a child process: a driver that hangs or crashes does not end this one."""
    code = (
        "import json, torch; found = torch.cuda.is_available();"
        "print(json.dumps({'device': torch.cuda.get_device_name() if found else 'cpu', 'torch': torch.__version__,"
        "'missing': '' if found else 'torch finds no CUDA device'}))"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        found = json.loads(done.stdout) if done.returncode == 0 else {"missing": last_line(done.stderr)}
    except subprocess.TimeoutExpired:
        found = {"missing": "torch did not answer within 120 s"}
    return {"device": "cpu", "python": platform.python_version(), "cores": os.cpu_count(), **found}


def run_parts(parts: list[Part], machine: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Prints and writes each part's rows as it ends. Returns how many parts failed."""
    ends = time.monotonic() + arguments.minutes * 60
    report: dict[str, Any] = {**machine, "quick": arguments.quick, "parts": []}
    print(f"{machine['device']}, torch {machine.get('torch')}, Python {machine['python']}, {machine['cores']} cores")
    print(COLUMNS.format("", "Shoal", "peer", "ratio", "of peak", ""), flush=True)
    for part in parts:
        begun = time.monotonic()
        # What earlier parts left over is for those that follow.
        left = [later.share for later in parts[parts.index(part) :]]
        seconds = (ends - begun) * part.share / sum(left)
        if seconds < LEAST_SECONDS:
            result: dict[str, Any] = {"rows": [], "error": "no time left"}
        else:
            result = run_in_process(part, seconds, arguments)
        entry = {"part": part.name, "seconds": round(time.monotonic() - begun, 1), **result}
        entry["ok"] = not entry["error"] and all(row.get("ok", True) for row in entry["rows"])
        report["parts"].append(entry)
        write_whole(arguments.json, json.dumps(report, indent=1))
        print_part(entry)
    failed = sum(not entry["ok"] for entry in report["parts"])
    print(f"{len(parts) - failed} of {len(parts)} parts passed; {arguments.json}")
    return failed


def run_in_process(part: Part, seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """The rows of `part`, or the error that ended it, from a process that is killed after `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        output, log = Path(folder) / "rows.json", Path(folder) / "log"
        command = [
            sys.executable,
            __file__,
            "--part",
            str(PARTS.index(part)),
            "--seconds",
            str(seconds),
            "--json",
            str(output),
        ]
        command += ["--quick"] * arguments.quick + (["--corpus", str(arguments.corpus)] if arguments.corpus else [])
        with log.open("wb") as file:
            child = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        rows = json.loads(output.read_text(encoding="utf-8")) if output.exists() else []
        if code == 0:
            return {"rows": rows, "error": "" if rows else "nothing was measured"}
        text = log.read_text(encoding="utf-8", errors="replace")
        why = f"not done after {seconds:.0f} s" if code is None else f"exit code {code}: {last_line(text)}"
        return {"rows": rows, "error": why, "log": text[-4000:]}


def run_as_child(part: Part, arguments: argparse.Namespace) -> None:
    """Writes the rows after each, so that those before a crash are kept."""
    rows = []
    for row in part.rows(arguments):
        rows.append(row)
        write_whole(arguments.json, json.dumps(rows))


def print_part(entry: dict[str, Any]) -> None:
    for row in entry["rows"]:
        share = f"{row['peak_share']:.0%}" if row.get("peak_share") else ""
        ratio = f"{row['ratio']:.2f}" if row.get("ratio") else ""
        note = row["note"] if row.get("ok", True) else f"FAILED: {row['note']}"
        print(COLUMNS.format(row["name"], row.get("ours", ""), row.get("peer", ""), ratio, share, note), flush=True)
    if entry["error"]:
        print(COLUMNS.format(entry["part"], "", "", "", "", f"FAILED: {entry['error']}"), flush=True)


def write_whole(path: Path, text: str) -> None:
    """Replaces `path` by a whole file, so that a reader never finds half of one."""
    from shoal.workers.runtime import whole_file

    with whole_file(path, durable=False) as file:
        file.write(text.encode())


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no message"


if __name__ == "__main__":
    main()
