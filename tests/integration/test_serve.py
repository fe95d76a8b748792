"""`shoal serve` as a process: when it refuses to start, how it ends, and what it recovers after kills and damage."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.client import Client, Document
from shoal.client.types import IndexKind
from support.cluster_process import ClusterProcess, ServeProcess, eventually, refused_serve

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NAME = "kept"
TEXTS = {f"document{number}": f"text number {number} about subject{number % 7}" for number in range(60)}


@contextmanager
def running(data: Path) -> Iterator[ClusterProcess]:
    """A cluster that is stopped, with all its processes, when the block ends."""
    cluster = ClusterProcess(data)
    try:
        yield cluster
        assert cluster.stop() == 0
        assert cluster.leftovers() == []
    finally:
        cluster.close()


def write_all(client: Client, index: IndexKind = "flat") -> dict[str, int]:
    """Creates the collection again and writes every document, in several segments; returns their versions."""
    if NAME in {info.name for info in client.list_collections()}:
        client.drop_collection(NAME)
    client.create_collection(NAME, model="hashing:32", index=index, shards=2)
    documents = [Document(name, text, payload={"length": len(text)}) for name, text in TEXTS.items()]
    versions: dict[str, int] = {}
    for start in range(0, len(documents), 20):
        token = client.upsert(NAME, documents[start : start + 20], wait=True)
        versions |= {result.id: result.version for result in token.results}
    return versions


def finds_all(client: Client) -> bool:
    """Whether a search shows every document; an answer that lacks one must say that changes are pending."""
    answer = client.search(NAME, "text", k=len(TEXTS) + 10)
    ids = [hit.id for hit in answer]
    assert len(set(ids)) == len(ids)
    if set(ids) == set(TEXTS):
        return True
    assert not answer.coverage.fresh, f"{len(ids)} of {len(TEXTS)} documents, and the answer says that it is fresh"
    return False


def check_all(client: Client, versions: dict[str, int]) -> None:
    """Every document is stored and found by its text, in the acknowledged version."""
    eventually(lambda: finds_all(client), "all documents are found")
    assert {one.id: (one.version, one.text) for one in client.get(NAME, list(TEXTS))} == {
        name: (versions[name], text) for name, text in TEXTS.items()
    }
    for name in list(TEXTS)[::10]:
        hit = client.search(NAME, TEXTS[name], k=1)[0]
        assert (hit.id, hit.version) == (name, versions[name])
    eventually(lambda: client.get_collection(NAME).pending == 0, "status shows nothing pending")
    info = client.get_collection(NAME)
    assert (info.documents, info.failed, sum(shard.documents for shard in info.shards)) == (len(TEXTS), 0, len(TEXTS))


def vector_files(data: Path) -> set[Path]:
    """Every file of vectors in a data folder."""
    return {path for path in (data / "vectors").rglob("*") if path.is_file()}


def test_second_serve_on_the_folder_is_refused(cluster: ClusterProcess) -> None:
    line = refused_serve(cluster.data)
    assert str(cluster.data) in line and "in use by another shoal serve" in line
    with cluster.client() as client:
        assert client.describe().api == "shoal.v1"


def test_a_busy_machine_does_not_slow_the_server_more_than_others(cluster: ClusterProcess) -> None:
    """Ray's own default is a niceness of 15: next to two busy processes, searches took ten times as long."""
    with cluster.client() as client:
        client.embed("hashing:8", ["an encoder starts"])
    pids = {kind: found[0] for kind, found in cluster.pids().items()}
    assert pids.keys() >= {"coordinator", "gateway", "encoder"}
    here = os.getpriority(os.PRIO_PROCESS, 0)
    assert {kind: os.getpriority(os.PRIO_PROCESS, pid) for kind, pid in pids.items()} == dict.fromkeys(pids, here)


def test_only_the_owner_can_read_the_data(cluster: ClusterProcess) -> None:
    assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((cluster.data / "ledger.sqlite").stat().st_mode) == 0o600


@pytest.mark.parametrize("delay_s", [0.2, 1.0, 2.0, 3.0, 4.5, 6.0])
def test_sigterm_during_the_start_ends_it_quietly(tmp_path: Path, delay_s: float) -> None:
    """A service manager may end what it has just started."""
    starting = ServeProcess(tmp_path / "data", "--listen", "127.0.0.1:0", "--json")
    try:
        time.sleep(delay_s)
        code = starting.stop()
        # The signal ends a process in which Python has not yet come to our code.
        assert code == 0 or (code == -signal.SIGTERM and delay_s < 2), starting.log.read_text()
        assert starting.log.read_text() == ""
        assert starting.leftovers() == []
    finally:
        starting.close()


def test_the_start_says_what_it_does(tmp_path: Path) -> None:
    starting = ServeProcess(tmp_path / "data", "--listen", "127.0.0.1:0")
    try:
        assert starting.lines.get(timeout=60).startswith("Serving at 127.0.0.1:")
        assert starting.stop() == 0
        assert starting.lines.get(timeout=10) == "Stopped.\n"
        assert starting.log.read_text().splitlines() == [
            "Loading Shoal ...",
            f"Opening {tmp_path / 'data'} ...",
            "Starting Ray ...",
            "Starting the coordinator and the gateway ...",
        ]
    finally:
        starting.close()


def test_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused_serve(tmp_path / "data", listen)
    assert f"cannot listen on {listen}" in line


def test_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    data_folder = tmp_path / "data"
    data_folder.write_text("no folder")
    assert f"data folder {data_folder}" in refused_serve(data_folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_data_folder_without_permission_is_refused(tmp_path: Path) -> None:
    data_folder = tmp_path / "data"
    data_folder.mkdir(mode=0o000)
    try:
        assert f"data folder {data_folder}: Permission denied" in refused_serve(data_folder)
    finally:
        data_folder.chmod(0o700)


def test_corrupt_ledger_is_refused(tmp_path: Path) -> None:
    data_folder = tmp_path / "data"
    data_folder.mkdir()
    (data_folder / "ledger.sqlite").write_bytes(b"this is no database " * 500)
    line = refused_serve(data_folder)
    assert str(data_folder / "ledger.sqlite") in line and "not a database" in line


def test_killed_serve_keeps_every_acknowledged_document(tmp_path: Path) -> None:
    data = tmp_path / "data"
    killed = ClusterProcess(data)
    try:
        with killed.client() as client:
            versions = write_all(client, "hnsw")
            # Acknowledged, but most likely not embedded yet at the kill.
            late = client.upsert(NAME, [Document(name, f"{TEXTS[name]} edited") for name in list(TEXTS)[:20]])
        killed.kill()
        # Ray's own agents wait a while for its dead control service; what could still write must be gone.
        assert killed.leftovers("Actor") == []
    finally:
        killed.close()
    with running(data) as cluster, cluster.client() as client:
        token = str(late)
        for result in late.results:
            hit = client.search(NAME, f"{TEXTS[result.id]} edited", k=1, token=token, include_text=True)[0]
            assert (hit.id, hit.version, hit.text) == (result.id, result.version, f"{TEXTS[result.id]} edited")
            assert result.version > versions[result.id]
        again = client.upsert(NAME, [Document(name, TEXTS[name], payload={"length": 1}) for name in list(TEXTS)[:20]])
        check_all(client, versions | {result.id: result.version for result in again.results})


def test_damaged_and_missing_segments_are_embedded_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as cluster, cluster.client() as client:
        versions = write_all(client)
    before = vector_files(data)
    # One shard loses a file, the other one gets a flipped byte.
    missing, flipped = min(before), max(before)
    assert missing.parent != flipped.parent
    missing.unlink()
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 0x10
    flipped.write_bytes(content)
    with running(data) as cluster, cluster.client() as client:
        check_all(client, versions)
        assert all(shard.ready for shard in client.get_collection(NAME).shards)
    after = vector_files(data)
    assert {missing.parent, flipped.parent} == {path.parent for path in after - before}, "not embedded again"


def test_killed_index_worker_shows_its_shards_again(cluster: ClusterProcess, client: Client) -> None:
    versions = write_all(client)
    killed = cluster.kill9("index")
    eventually(lambda: cluster.pids().get("index", [killed]) != [killed], "another index worker is ready")
    eventually(lambda: all(shard.ready for shard in client.get_collection(NAME).shards), "all shards are ready")
    check_all(client, versions)


def test_killed_processes_come_back_once_the_ledger_does(cluster: ClusterProcess, client: Client) -> None:
    versions = write_all(client)
    ledger, aside = cluster.data / "ledger.sqlite", cluster.data / "ledger.aside"
    for kind in ("coordinator", "gateway"):
        ledger.rename(aside)
        # A folder, so that no process creates an empty ledger there.
        ledger.mkdir()
        try:
            killed = cluster.kill9(kind)
            # Long enough for Ray to restart it, and for that to fail.
            time.sleep(4)
        finally:
            ledger.rmdir()
            aside.rename(ledger)
        eventually(lambda kind=kind, killed=killed: cluster.pids().get(kind, [killed]) != [killed], f"another {kind}")
    edited = client.upsert(NAME, [Document("document0", "edited since", payload={"length": 1})], wait=True)
    assert client.search(NAME, "edited since", k=1)[0].version == edited.results[0].version
    again = client.upsert(NAME, [Document("document0", TEXTS["document0"], payload={"length": 1})], wait=True)
    check_all(client, versions | {"document0": again.results[0].version})
