"""Promises about the tree: one namespace in four portions, typed, with light imports."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import shoal

ROOT = Path(__file__).parents[2]
PORTIONS = ("protos", "workers", "cluster", "client")
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
    "package", ["shoal.v1", "shoal.internal", "shoal.workers", "shoal.cluster", "shoal.client", "shoal.records"]
)
def test_packages_are_typed(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    assert (Path(spec.submodule_search_locations[0]) / "py.typed").is_file()


@pytest.mark.parametrize("module", ["shoal.client", "shoal.client.cli", "shoal.records"])
def test_the_client_is_light(module: str) -> None:
    assert imported(module).isdisjoint(HEAVY)


def test_records_know_nothing_of_shoal() -> None:
    assert imported("shoal.records").isdisjoint({"click", "rich", "grpc", "numpy", "google"})


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
