"""Status: what it says while ledger or coordinator are away, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, event

from shoal.cluster.gateway.backends import coordinator_link
from shoal.v1 import collections_pb2, status_pb2
from support.gateway.small_cluster import SmallCluster, eventually, refused

GONE = "its file was deleted or moved away while in use"


def status(cluster: SmallCluster) -> status_pb2.StatusResponse:
    return cluster.status.Status(status_pb2.StatusRequest(), timeout=10)


def problems(cluster: SmallCluster) -> list[tuple[str, str]]:
    return [(problem.part, problem.message) for problem in status(cluster).problems]


@contextmanager
def counted_queries(cluster: SmallCluster) -> Iterator[list[str]]:
    """The SELECTs of the gateway."""
    core = cluster.gateway._core
    assert core is not None
    engine: Engine = core._reads._engine
    queries: list[str] = []

    def look(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        # The link to the coordinator looks at the lease by itself.
        if sql.startswith("SELECT") and "FROM lease" not in sql:
            queries.append(sql)

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield queries
    finally:
        event.remove(engine, "before_cursor_execute", look)


def test_a_healthy_cluster_has_no_problems(cluster: SmallCluster) -> None:
    cluster.create("papers")
    assert problems(cluster) == []


def test_a_deleted_ledger_is_a_problem_at_once(cluster: SmallCluster, tmp_path: Path) -> None:
    """Also before the coordinator has noticed it."""
    cluster.create("papers")
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    answer = status(cluster)
    assert [(problem.part, problem.message) for problem in answer.problems] == [
        ("ledger", f"{tmp_path / 'ledger.sqlite'}: {GONE}")
    ]
    assert [one.name for one in answer.collections] == ["papers"]
    code, detail = refused(lambda: cluster.upsert_texts("papers", {"a": "b"}))
    assert code is grpc.StatusCode.UNAVAILABLE and detail.message.endswith(GONE)


def test_a_ledger_moved_away_and_back_is_no_problem(cluster: SmallCluster, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    for path in tmp_path.glob("ledger.sqlite*"):
        path.rename(tmp_path / "away" / path.name)
    first = status(cluster).problems[0].since_ms
    assert first > 0
    assert status(cluster).problems[0].since_ms == first
    for path in (tmp_path / "away").iterdir():
        path.rename(tmp_path / path.name)
    assert problems(cluster) == []


def test_status_answers_while_the_ledger_cannot_be_read(cluster: SmallCluster) -> None:
    cluster.create("papers")
    with cluster.coordinator.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE segment")
    answer = status(cluster)
    assert (answer.problems[0].part, list(answer.collections)) == ("ledger", [])
    assert answer.problems[0].message.endswith(": its tables were dropped")
    assert answer.processes


def test_what_the_coordinator_reports_is_shown_while_it_can_be_reached(
    cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator_link, "LONGEST_PAUSE_S", 0.1)
    whole = cluster.coordinator.routing

    def routing() -> Any:
        message = whole()
        message.problems.add(part="storage", message="the disk is full", since_ms=7)
        return message

    monkeypatch.setattr(cluster.coordinator, "routing", routing)
    cluster.coordinator.publish()
    eventually(lambda: problems(cluster) == [("storage", "the disk is full")])
    cluster.coordinator.stop()
    eventually(lambda: problems(cluster) == [("coordinator", "cannot be reached")])
    states = {one.kind: one.state for one in status(cluster).processes}
    assert states[status_pb2.PROCESS_KIND_COORDINATOR] == status_pb2.PROCESS_STATE_UNREACHABLE
    cluster.coordinator.serve()
    cluster.coordinator.publish()
    eventually(lambda: problems(cluster) == [("storage", "the disk is full")])


def test_status_asks_the_ledger_as_often_for_thirty_collections_as_for_one(cluster: SmallCluster) -> None:
    """And `list` too; one of them costs the same whatever else there is."""

    def cost() -> tuple[int, int, int]:
        with counted_queries(cluster) as all_of_them:
            status(cluster)
        with counted_queries(cluster) as listed:
            cluster.collections.ListCollections(collections_pb2.ListCollectionsRequest())
        with counted_queries(cluster) as one:
            cluster.collections.GetCollection(collections_pb2.GetCollectionRequest(name="c0"))
        return len(all_of_them), len(listed), len(one)

    cluster.create("c0")
    cluster.upsert_texts("c0", {"a": "pending"})
    few = cost()
    assert few[0] >= 4
    for number in range(1, 30):
        cluster.create(f"c{number}", dimension=2)
    cluster.upsert_texts("c0", {"b": "pending"})
    assert cost() == few
    shown = status(cluster).collections
    assert [one.name for one in shown] == sorted(f"c{number}" for number in range(30))
    assert [one.pending for one in shown] == [2, *[0] * 29]
