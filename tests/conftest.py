"""Fixtures for tests of the whole cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests run Ray and gRPC's servers in one process. gRPC's handlers abort a child that Ray forks while another thread is in
# gRPC, before it becomes a raylet; no test continues in a fork. gRPC reads this when it is loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# A shell that starts the tests in the background has them ignore Ctrl-C, and every process that they start would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from shoal.client import Client
from support import scenarios
from support.cluster_process import ClusterProcess
from support.scenarios import Command

# A machine may pause for a second without a fault of the example; pytest-timeout ends tests that hang.
settings.register_profile("shoal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shoal")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Gives each process of `pytest -n` one file after the other, in the order of collection."""
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `pytest -n`, puts the tests that start Ray first, since they take longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scenarios", action="store_true", help="put today's answers into the scenario files (support/scenarios.py)"
    )


@pytest.fixture
def run_scenario(request: pytest.FixtureRequest) -> Callable[[Path, Callable[[Command], str]], None]:
    """Runs a scenario file, or rewrites it under --rewrite-scenarios; the test is then skipped, not passed."""
    rewrite = bool(request.config.getoption("--rewrite-scenarios"))

    def run(path: Path, answer: Callable[[Command], str]) -> None:
        changed = scenarios.run_scenario(path, answer, rewrite)
        if rewrite:
            pytest.skip(f"{path.name} {'rewritten' if changed else 'unchanged'}")

    return run


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """A running cluster that the tests of one module share; it must end in order and leave no process."""
    running = ClusterProcess(tmp_path_factory.mktemp("cluster") / "data")
    try:
        yield running
        assert running.stop() == 0
        assert running.leftovers() == []
    finally:
        running.close()


@pytest.fixture(scope="module")
def client(cluster: ClusterProcess) -> Iterator[Client]:
    """A client of that cluster."""
    with cluster.client() as connected:
        yield connected
