"""The minimum of the machine's memory and the limits of its cgroups, version 1 and 2, from files as on Linux."""

from __future__ import annotations

from pathlib import Path

from shoal.workers.training.word2vec.run.free_memory import free_memory

MIB = 1 << 20


class Machine:
    """Files that say 1,000 MiB are free."""

    def __init__(self, root: Path, groups: str) -> None:
        self._root = root
        (root / "meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable:   {1000 * 1024} kB\n")
        (root / "groups").write_text(groups)

    def write(self, folder: str, limit: str, limit_value: str, use: str, used_mib: int, files_mib: int) -> None:
        group = self._root / "fs" / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / limit).write_text(f"{limit_value}\n")
        (group / use).write_text(f"{used_mib * MIB}\n")
        (group / "memory.stat").write_text(f"anon 5\ninactive_file {files_mib * MIB}\nactive_file 0\n")

    def v2(self, folder: str, limit: str, used_mib: int = 100, files_mib: int = 0) -> None:
        self.write(folder, "memory.max", limit, "memory.current", used_mib, files_mib)

    def free_mib(self) -> float:
        free = free_memory(self._root / "meminfo", self._root / "groups", self._root / "fs")
        assert free is not None
        return free / MIB


def test_without_a_limit_the_machine_decides(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/user/job\n")
    assert machine.free_mib() == 1000
    machine.v2("user/job", "max")
    assert machine.free_mib() == 1000


def test_the_tightest_group_decides(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/user/job\n")
    machine.v2("user/job", str(800 * MIB), used_mib=100)
    assert machine.free_mib() == 700
    machine.v2("user", str(300 * MIB), used_mib=150)
    assert machine.free_mib() == 150
    # The page cache is freed when memory is needed.
    machine.v2("user", str(300 * MIB), used_mib=150, files_mib=50)
    assert machine.free_mib() == 200
    machine.v2("user", str(100 * MIB), used_mib=150)
    assert machine.free_mib() == 0


def test_a_container_sees_its_group_at_the_top(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/outside/of/here\n")
    machine.v2(".", str(500 * MIB))
    assert machine.free_mib() == 400


def test_version_one_of_cgroups(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "5:cpu,cpuacct:/job\n4:memory:/job\n")
    machine.write("memory/job", "memory.limit_in_bytes", str(600 * MIB), "memory.usage_in_bytes", 100, 0)
    assert machine.free_mib() == 500
    # In that version, such a large number means that there is no limit.
    machine.write("memory/job", "memory.limit_in_bytes", "9223372036854771712", "memory.usage_in_bytes", 100, 0)
    assert machine.free_mib() == 1000


def test_a_system_without_this_information(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "nothing", tmp_path / "nothing", tmp_path) is None


def test_this_machines_memory() -> None:
    free = free_memory()
    assert free is None or 0 < free < 1 << 50
