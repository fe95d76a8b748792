"""Makes the typed Python stubs beside the .proto files; `--check` fails when they are not what is committed.

Run by `make protos` and `make check` in the generator's own environment (protos/requirements.txt).
"""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGES = ("shoal/v1", "shoal/internal/v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Writes the stubs of every .proto under ROOT below `target`, at the same relative paths."""
    found = [path for package in PACKAGES for path in sorted((ROOT / package).glob("*.proto"))]
    sources = [str(path.relative_to(ROOT)) for path in found]
    plugins = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT)]
    command += [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    command += [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    subprocess.run(
        [*command, *sources], check=True, env={**os.environ, "PATH": plugins, "PYTHONWARNINGS": "ignore"}, cwd=ROOT
    )


def stubs(folder: Path) -> set[str]:
    """Relative paths of the stubs below `folder`."""
    found = [path for package in PACKAGES for glob in GENERATED for path in (folder / package).glob(glob)]
    return {str(path.relative_to(folder)) for path in found}


def floors_differ() -> list[str]:
    """The lowest runtimes in pyproject.toml must be the generator's versions (protobuf checks it at import)."""
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    project = (ROOT.parent / "pyproject.toml").read_text()
    wanted = {"grpcio": pins["grpcio-tools"], "protobuf": pins["protobuf"]}
    return [f"{name}>={version}" for name, version in wanted.items() if f'"{name}>={version}"' not in project]


def main() -> int:
    """Makes or checks the stubs; 1 when a check fails."""
    parser = argparse.ArgumentParser(description="Makes the Python stubs beside the .proto files.")
    parser.add_argument("--check", action="store_true", help="compare with the committed stubs, change nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        made, held = stubs(fresh), stubs(ROOT)
        differing = sorted((made ^ held) | {n for n in made & held if not filecmp.cmp(fresh / n, ROOT / n, shallow=False)})
        if arguments.check:
            for name in differing:
                sys.stderr.write(f"protos/{name} is not what its .proto says: run `make protos`\n")
            for floor in floors_differ():
                sys.stderr.write(f"pyproject.toml should ask for {floor}, the generator's version\n")
            return 1 if differing or floors_differ() else 0
        for name in held - made:
            (ROOT / name).unlink()
        for name in made:
            shutil.copyfile(fresh / name, ROOT / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
