"""kill -9 of a replica and of the driver, and Ctrl-C, in the middle of a job: its output is that of an undisturbed one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from shoal.cluster.jobs.encode.output import ATTEMPTS
from shoal.cluster.jobs.encode.parts import PartId
from support.encode_process import EncodeProcess, encode, encoded, files, finished_parts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
SOME = 5
ALL = 41
# As many as an actor encodes at once.
HELD = (20, 21)


def started(arguments: list[object], output: Path) -> EncodeProcess:
    """A run that has finished some parts and cannot finish all before it is disturbed.

    An encoder that reaches one of HELD blocks until it is killed: it reads a pipe that has no writer.
    """
    output.mkdir()
    for held in pipes(output):
        os.mkfifo(held)
    running = EncodeProcess(*arguments, output)
    try:
        running.until(lambda: finished_parts(output) >= SOME, "some parts are finished")
        return running
    except BaseException:
        running.close()
        raise


def pipes(output: Path) -> list[Path]:
    """The pipes that block encoders."""
    return [output / f"{PartId(0, index).name}{ATTEMPTS}" for index in HELD]


def release(output: Path) -> None:
    """Removes the pipes, so that no further encoder blocks."""
    for held in pipes(output):
        held.unlink()


def check_equal(output: Path, undisturbed: Path) -> None:
    table = encoded(output)
    assert table.num_rows == 1000 and len(set(table.column("id").to_pylist())) == 1000
    assert table.equals(encoded(undisturbed))
    # Not only the rows: every file has the same bytes, and there is none that an undisturbed run does not leave.
    assert files(output) == files(undisturbed)


def test_the_driver_is_killed(arguments: list[object], undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    running = started(arguments, output)
    running.send(signal.SIGKILL)
    assert running.ended().returncode == -signal.SIGKILL
    release(output)
    before = finished_parts(output)
    assert SOME <= before < ALL
    kept = {
        path.name: path.stat().st_mtime_ns for path in output.glob("part-*.parquet") if path.with_suffix(".json").exists()
    }
    done = encode(*arguments, output)
    assert done.returncode == 1, done
    assert "rows were finished before" in done.stderr
    check_equal(output, undisturbed)
    # Finished parts were not encoded again.
    assert all((output / name).stat().st_mtime_ns == written for name, written in kept.items())


def test_a_replica_is_killed(arguments: list[object], undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    running = started(arguments, output)
    [encoder] = running.encoders()
    assert encoder.environ()["RAY_ENABLE_AUTO_CONNECT"] == "0", "a thread may start another Ray when the job's has ended"
    # It must not finish the job before it is killed.
    encoder.suspend()
    release(output)
    encoder.kill()
    done = running.ended()
    assert done.returncode == 1, done
    check_equal(output, undisturbed)


# Ctrl-C sends the first one, `ray job stop` the other.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_interrupted(number: signal.Signals, arguments: list[object], undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    running = started(arguments, output)
    running.send(number)
    done = running.ended()
    release(output)
    assert done.returncode == 130, done
    assert f"stopped; finished parts stay in {output}: run the same command to resume" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    # The next run can resume, as after a kill.
    assert SOME <= finished_parts(output) < ALL
    whole = files(undisturbed)
    kept = {name: content for name, content in files(output).items() if name.endswith((".json", ".parquet"))}
    assert {name: whole[name] for name in kept} == kept
