"""Promises about the tree: one namespace in four portions, typed, with light imports."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import shoal

ROOT = Path(__file__).parents[2]
PORTIONS = ("protos", "workers", "cluster", "client")
RAY_MODULES = {
    "cluster/shoal/cluster/coordinator/actor.py",
    "cluster/shoal/cluster/coordinator/fleet/ray_fleet.py",
    "cluster/shoal/cluster/gateway/actor.py",
    "cluster/shoal/cluster/jobs/encode/pipeline.py",
    "cluster/shoal/cluster/jobs/word2vec/ray_pool.py",
    "cluster/shoal/cluster/ray_runtime/named_actors.py",
    "cluster/shoal/cluster/ray_runtime/restarts.py",
    "cluster/shoal/cluster/ray_runtime/session.py",
    "cluster/shoal/cluster/serve/local_cluster.py",
    "workers/shoal/workers/encoding/replica/actor.py",
    "workers/shoal/workers/indexing/actor.py",
    "workers/shoal/workers/training/word2vec/run/learner_actor.py",
}
GRPC_FOLDERS = {
    "client/shoal/client",
    "client/shoal/client/_transport",
    "cluster/shoal/cluster",
    "cluster/shoal/cluster/coordinator",
    "cluster/shoal/cluster/coordinator/embedding",
    "cluster/shoal/cluster/coordinator/fleet",
    "cluster/shoal/cluster/coordinator/shards",
    "cluster/shoal/cluster/gateway/backends",
    "cluster/shoal/cluster/gateway/grpc",
    "cluster/shoal/cluster/rpc",
    "workers/shoal/workers/encoding/replica",
    "workers/shoal/workers/indexing",
    "workers/shoal/workers/runtime",
}
HEAVY = ("ray", "torch", "transformers", "pyarrow", "sqlalchemy", "faiss", "hnswlib")


def imported(module: str) -> set[str]:
    """The top-level packages in memory after a fresh process has imported `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize("portion", PORTIONS)
def test_the_namespace_has_no_init_file_of_its_own(portion: str) -> None:
    assert (ROOT / portion / "shoal").is_dir()
    assert not (ROOT / portion / "shoal" / "__init__.py").exists()


def test_the_namespace_has_four_roots() -> None:
    assert {Path(path).resolve() for path in shoal.__path__} == {ROOT / portion / "shoal" for portion in PORTIONS}


@pytest.mark.parametrize(
    "package",
    ["shoal.v1", "shoal.internal", "shoal.workers", "shoal.cluster", "shoal.client", "shoal.console", "shoal.records"],
)
def test_packages_are_typed(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    assert (Path(spec.submodule_search_locations[0]) / "py.typed").is_file()


def test_ray_is_imported_in_the_listed_files_only() -> None:
    """Everything else does not depend on Ray."""
    found = {
        str(path.relative_to(ROOT))
        for portion in PORTIONS
        for path in (ROOT / portion / "shoal").rglob("*.py")
        if "ray" in _imports(path)
    }
    assert found == RAY_MODULES


def test_grpc_is_imported_in_the_listed_folders_only() -> None:
    """Except the stubs under protos. Everything else does not depend on gRPC."""
    found = {
        str(path.parent.relative_to(ROOT))
        for portion in PORTIONS
        if portion != "protos"
        for path in (ROOT / portion / "shoal").rglob("*.py")
        if "grpc" in _imports(path)
    }
    assert found == GRPC_FOLDERS


def test_one_module_starts_ray_and_one_reads_its_address() -> None:
    sources = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for portion in PORTIONS
        for path in (ROOT / portion / "shoal").rglob("*.py")
    }
    assert {path for path, text in sources.items() if "ray.init(" in text} == {
        "cluster/shoal/cluster/ray_runtime/session.py"
    }
    quoted = {path for path, text in sources.items() if '"RAY_ADDRESS"' in text}
    assert quoted == {"cluster/shoal/cluster/ray_runtime/environment.py"}


def test_one_module_on_each_side_opens_channels_and_ports() -> None:
    """So that encryption and credentials are decided there."""
    opens = re.compile(r"\b(?:in)?secure_channel\(|\badd_(?:in)?secure_port\(")
    found = {
        str(path.relative_to(ROOT))
        for portion in PORTIONS
        for path in (ROOT / portion / "shoal").rglob("*.py")
        if opens.search(path.read_text(encoding="utf-8"))
    }
    assert found == {
        "client/shoal/client/_transport/credentials.py",
        "workers/shoal/workers/runtime/credentials.py",
    }


def _imports(path: Path) -> set[str]:
    """The top-level packages that a module imports anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_client_is_light() -> None:
    assert imported("shoal.client").isdisjoint(HEAVY)


def test_the_command_line_starts_without_numpy() -> None:
    """It takes a third of the time in which help is printed."""
    assert "numpy" not in imported("shoal.client.cli")


@pytest.mark.parametrize(
    "face", ["encoding", "encoding.word_vectors", "evaluation", "indexing", "runtime", "training.word2vec"]
)
def test_the_faces_of_workers_are_light(face: str) -> None:
    assert imported(f"shoal.workers.{face}").isdisjoint({*HEAVY, "grpc", "numba", "numpy"})


@pytest.mark.parametrize(
    "module",
    [
        "limits",
        "rpc.gathering",
        *(f"decisions.{path.stem}" for path in (ROOT / "cluster/shoal/cluster/decisions").glob("[!_]*.py")),
    ],
)
def test_deciding_modules_know_no_machinery(module: str) -> None:
    assert imported(f"shoal.cluster.{module}").isdisjoint({*HEAVY, "grpc", "numpy"})


def test_routing_knows_messages_but_no_machinery() -> None:
    assert imported("shoal.cluster.rpc.routing").isdisjoint(HEAVY)
