from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import Job, JobSettings, ModelIdentity, plan_job
from shoal.cluster.jobs.encode.output import DATA, SUMMARY, OutputFolder, PartManifest
from shoal.cluster.jobs.encode.parts import PartId

JOB = plan_job("first", JobSettings("m"), ModelIdentity("f", 8, 512, "float32"), [])
OTHER = plan_job("other", JobSettings("m", dtype="float16"), ModelIdentity("f", 8, 512, "float32"), [])


def started(root: Path, job: Job = JOB, overwrite: bool = False) -> OutputFolder:
    """A folder that is not locked any more."""
    folder = OutputFolder(str(root))
    try:
        folder.begin(job, overwrite)
    finally:
        folder.close()
    return folder


def finish(folder: OutputFolder, index: int, last: bool = False) -> PartManifest:
    data = folder.put(PartId(0, index).name + DATA, b"data" * index)
    manifest = PartManifest(0, index, last, 1, 0, 5, 0, 10, data, None)
    folder.commit(manifest)
    return manifest


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != ".lock")


def test_committed_parts_are_found_again(tmp_path: Path):
    folder = started(tmp_path / "new" / "out")
    manifests = [finish(folder, 1), finish(folder, 0), finish(folder, 2, last=True)]
    assert started(tmp_path / "new" / "out").finished() == sorted(manifests, key=lambda one: one.part)


def test_a_started_job_is_kept(tmp_path: Path):
    started(tmp_path)
    folder = OutputFolder(str(tmp_path))
    assert folder.begin(replace(JOB, id="second"), overwrite=False).id == "first"
    folder.close()


def test_files_that_no_manifest_names_are_deleted(tmp_path: Path):
    folder = started(tmp_path)
    finish(folder, 0)
    folder.put(PartId(0, 1).name + DATA, b"without a manifest")
    folder.count_attempts(PartId(0, 1), 1)
    (tmp_path / "part-000000-000002.parquet.1234.partial").write_bytes(b"half")
    started(tmp_path)
    assert names(tmp_path) == ["job.json", "part-000000-000000.json", "part-000000-000000.parquet"]


def test_the_end_of_a_job_deletes_what_dead_processes_left(tmp_path: Path):
    folder = started(tmp_path)
    folder.count_attempts(PartId(0, 0), 1)
    (tmp_path / "part-000000-000000.parquet.1234.partial").write_bytes(b"half")
    finish(folder, 0, last=True)
    # A process that died between its commit and deleting its attempts.
    folder.count_attempts(PartId(0, 0), 1)
    (tmp_path / "notes.txt").write_text("another user's")
    folder.conclude(b"{}")
    assert names(tmp_path) == ["job.json", "notes.txt", "part-000000-000000.json", "part-000000-000000.parquet", SUMMARY]


def test_a_part_whose_files_are_gone_or_cut_does_not_count(tmp_path: Path):
    folder = started(tmp_path)
    for index in (1, 2, 3):
        finish(folder, index)
    (tmp_path / "part-000000-000001.parquet").unlink()
    (tmp_path / "part-000000-000002.parquet").write_bytes(b"cut")
    assert [one.part for one in folder.finished()] == [3]
    (tmp_path / "part-000000-000003.json").write_bytes(b'{"split": ')
    assert folder.finished() == []


def test_another_job_is_refused_unless_it_may_overwrite(tmp_path: Path):
    finish(started(tmp_path), 0)
    with pytest.raises(
        JobError, match=r'contains another job: it was started with dtype "float32", not "float16"; choose another'
    ):
        started(tmp_path, OTHER)
    assert len(names(tmp_path)) == 3
    folder = started(tmp_path, OTHER, overwrite=True)
    assert names(tmp_path) == ["job.json"] and folder.finished() == []


def test_an_unreadable_description_is_reported_and_may_be_overwritten(tmp_path: Path):
    started(tmp_path)
    (tmp_path / "job.json").write_bytes(b"nonsense")
    with pytest.raises(JobError, match=r"job\.json: not the description of a job"):
        started(tmp_path)
    started(tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_never_touched(tmp_path: Path, overwrite: bool):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(JobError, match=r"contains thesis\.tex, but no job; choose an empty folder"):
        started(tmp_path, overwrite=overwrite)
    assert names(tmp_path) == ["thesis.tex"]


def test_other_files_in_the_folder_of_a_job_stay(tmp_path: Path):
    started(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    started(tmp_path, OTHER, overwrite=True)
    assert names(tmp_path) == ["job.json", "notes.txt"]


def test_one_process_writes_at_a_time(tmp_path: Path):
    first, second = OutputFolder(str(tmp_path)), OutputFolder(str(tmp_path))
    first.begin(JOB, overwrite=False)
    with pytest.raises(JobError, match="another shoal encode is writing to it"):
        second.begin(JOB, overwrite=False)
    first.close()
    second.begin(JOB, overwrite=False)
    second.close()


def test_a_folder_at_a_uri_is_the_same(tmp_path: Path):
    folder = OutputFolder(f"file://{tmp_path}/out")
    folder.begin(JOB, overwrite=False)
    finish(folder, 0)
    assert len(started(tmp_path / "out").finished()) == 1


def test_another_folder_is_noticed(tmp_path: Path):
    started(tmp_path)
    OutputFolder(str(tmp_path)).check_same("first")
    for root, job in ((tmp_path, "second"), (tmp_path / "elsewhere", "first")):
        with pytest.raises(JobError, match="all nodes must share the output folder"):
            OutputFolder(str(root)).check_same(job)


def test_attempts_are_counted_until_the_commit(tmp_path: Path):
    folder = started(tmp_path)
    assert folder.attempts(PartId(0, 0)) == 0
    folder.count_attempts(PartId(0, 0), 2)
    folder.count_attempts(PartId(0, 1), 1)
    assert [folder.attempts(PartId(0, index)) for index in range(2)] == [2, 1]
    finish(folder, 0)
    assert [folder.attempts(PartId(0, index)) for index in range(2)] == [0, 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_write_permission_is_reported(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(JobError, match=r"cannot be used for output: Permission denied"):
        started(tmp_path / "out")


def test_a_file_instead_of_the_folder_is_reported(tmp_path: Path):
    (tmp_path / "out").touch()
    with pytest.raises(JobError, match=r"out: cannot be used for output: File exists"):
        started(tmp_path / "out")


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = started(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JobError, match=r"part-000000-000000\.parquet: cannot be written: No space left on device"):
        finish(folder, 0)
    assert folder.finished() == [] and names(tmp_path) == ["job.json"]
