"""Ledger, storage or disk fail while the coordinator runs: it says so, refuses writes, and goes on when they are back."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from sqlalchemy import Connection, event

from shoal.cluster.coordinator import problem_watch
from shoal.cluster.ledger.progress import LedgerProgress
from support.coordinator.world import World
from support.gateway.small_cluster import eventually, refused

TEXTS = {"a": "reef", "b": "shore", "c": "tide"}
SHOWN = dict.fromkeys(TEXTS, 1)
GONE = "its file was deleted or moved away while in use"


@pytest.fixture(autouse=True)
def frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem_watch, "CHECK_EVERY_S", 0.02)


def problems(world: World) -> dict[str, str]:
    return {problem.part: problem.message for problem in world.routing().problems}


def has_problem(world: World, part: str, message: str) -> None:
    eventually(lambda: problems(world).get(part, "").endswith(message))


def has_none(world: World) -> None:
    eventually(lambda: problems(world) == {})


def take_ledger_away(world: World) -> None:
    away = world.ledger_path.with_name("away")
    away.mkdir(exist_ok=True)
    for path in world.ledger_path.parent.glob("ledger.sqlite*"):
        path.rename(away / path.name)


def bring_ledger_back(world: World) -> None:
    for path in world.ledger_path.with_name("away").iterdir():
        path.rename(world.ledger_path.with_name(path.name))


def take_ledger_away_during(world: World, statement: str) -> None:
    """Takes it away in the transaction of the first such statement: after its first check, before its commit."""

    def look(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith(statement):
            take_ledger_away(world)

    event.listen(world.now.core._engine, "before_cursor_execute", look)


def test_a_healthy_cluster_has_no_problems(running: World) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    assert problems(running) == {}


def test_a_deleted_ledger_is_noticed_and_refuses_writes(running: World) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    for path in running.ledger_path.parent.glob("ledger.sqlite*"):
        path.unlink()
    code, detail = refused(lambda: running.write({"d": "wave"}))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert detail.message == f"ledger {running.ledger_path}: {GONE}"
    has_problem(running, "ledger", GONE)
    assert not running.ledger_path.exists()


def test_a_ledger_that_is_moved_back_works_again(running: World) -> None:
    running.write({"a": "reef"})
    running.settles({"a": 1})
    take_ledger_away(running)
    has_problem(running, "ledger", GONE)
    refused(lambda: running.write({"b": "shore"}))
    bring_ledger_back(running)
    has_none(running)
    running.write({"c": "tide"})
    running.settles({"a": 1, "b": 0, "c": 1})


def test_a_collection_whose_commit_lost_its_ledger_works_when_the_ledger_is_back(running: World) -> None:
    """The commit succeeds in the file that is moved away meanwhile; its caller gets an error."""
    take_ledger_away_during(running, "INSERT INTO collection")
    code, _ = refused(lambda: running.create("other"))
    assert code is grpc.StatusCode.UNAVAILABLE
    bring_ledger_back(running)
    has_none(running)
    running.write({"a": "reef"}, name="other")
    running.settles({"a": 1}, name="other")


def test_a_collection_whose_drop_lost_its_ledger_is_closed_when_the_ledger_is_back(running: World) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    take_ledger_away_during(running, "DELETE FROM collection")
    refused(running.drop)
    assert running.routing().shards
    bring_ledger_back(running)
    eventually(lambda: not running.routing().shards and not running.files())


def test_a_ledger_that_cannot_be_written_is_a_problem_until_it_can(running: World) -> None:
    """SQLite's error is that of a file system remounted after a disk error."""
    query_only = "OFF"

    def begin(connection: Connection) -> None:
        connection.connection.cursor().execute(f"PRAGMA query_only = {query_only}")

    event.listen(running.now.core._engine, "begin", begin)
    query_only = "ON"
    _, detail = refused(lambda: running.write({"a": "reef"}))
    assert detail.message.endswith("attempt to write a readonly database")
    has_problem(running, "ledger", "attempt to write a readonly database")
    query_only = "OFF"
    has_none(running)
    running.write({"a": "reef"})
    running.settles({"a": 1})


def test_a_full_disk_is_a_problem_before_a_write_fails(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(f_bfree=10, f_bavail=10, f_frsize=4096, f_flag=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: full)
        has_problem(running, "ledger", f"the disk of {running.ledger_path.parent} is full: less than 16 MiB are free")
        has_problem(running, "storage", f"the disk of {running.fleet.root} is full: less than 16 MiB are free")
    has_none(running)


def test_a_storage_folder_that_is_away_is_not_made_again(running: World) -> None:
    running.write({"a": "reef"})
    running.settles({"a": 1})
    away = running.fleet.root.with_name("elsewhere")
    running.fleet.root.rename(away)
    running.write({"b": "shore"})
    has_problem(running, "storage", f"folder {running.fleet.root} does not exist")
    eventually(lambda: bool(running.now.core.parts.problems._replicas.failed_storage))
    assert not running.fleet.root.exists()
    away.rename(running.fleet.root)
    running.settles({"a": 1, "b": 1})
    has_none(running)


def test_vectors_deleted_under_a_running_worker_are_made_again_after_its_restart(running: World) -> None:
    running.write(TEXTS)
    running.settles(SHOWN)
    for path in running.fleet.root.iterdir():
        shutil.rmtree(path)
    running.write({"d": "wave"})
    running.settles({**SHOWN, "d": 1})
    running.fleet.kill("index-0")
    running.settles({**SHOWN, "d": 1})


def test_a_segment_that_cannot_be_stored_is_a_problem(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    (host,) = running.fleet.hosts()
    with monkeypatch.context() as patch:
        patch.setattr(host, "stage", full)
        running.write({"a": "reef"})
        has_problem(running, "storage", "No space left on device")
    running.settles({"a": 1})
    has_none(running)


def test_a_check_that_fails_unexpectedly_is_made_again(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = 0
    check = LedgerProgress.check

    def fail_twice(progress: LedgerProgress) -> None:
        nonlocal failed
        if failed < 2:
            failed += 1
            raise ValueError("unexpected")
        check(progress)

    monkeypatch.setattr(LedgerProgress, "check", fail_twice)
    eventually(lambda: failed == 2)
    take_ledger_away(running)
    has_problem(running, "ledger", GONE)
    bring_ledger_back(running)
    has_none(running)
