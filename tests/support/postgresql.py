"""A PostgreSQL database for tests: the server that SHOAL_TEST_POSTGRESQL_URL names, or a private one if it is installed."""

import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

URL_VARIABLE = "SHOAL_TEST_POSTGRESQL_URL"
START_LIMIT_S = 30.0


@functools.cache
def binaries() -> Path | None:
    """The folder of initdb and postgres; None where PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if shutil.which("pg_config"):
        bindir = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders.insert(0, Path(bindir))
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def account() -> str | None:
    """The user to run the server as: it refuses root. None keeps the current one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def private_server(folder: Path) -> Iterator[str]:
    """A server of our own with its data and socket under `folder`; yields the URL of its first database."""
    bin_folder = binaries()
    if bin_folder is None:
        pytest.skip(f"PostgreSQL is not installed and {URL_VARIABLE} is not set")
    user = account()
    if user is not None:
        shutil.chown(folder, user)
    # By a command and not by subprocess's `user`: that forks, and the child of a process with gRPC threads may hang.
    as_user = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"] if user else []
    data, log = folder / "data", folder / "log"
    subprocess.run(
        [
            *as_user,
            bin_folder / "initdb",
            "-D",
            data,
            "-U",
            "shoal",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    port = free_port()
    url = make_url(f"postgresql+psycopg://shoal@127.0.0.1:{port}/postgres")
    # The tests end the server and never the machine, so fsync would only cost time.
    options = [f"-cunix_socket_directories={folder}", "-clisten_addresses=127.0.0.1", "-cfsync=off", "-cshared_buffers=32MB"]
    with open(log, "wb") as output:
        server = subprocess.Popen(
            [*as_user, bin_folder / "postgres", "-D", data, "-p", str(port), *options],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_up(server, bin_folder, port, log)
        yield url.render_as_string()
    finally:
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        server.send_signal(signal.SIGINT)
        server.wait(timeout=START_LIMIT_S)


def _wait_until_up(server: subprocess.Popen[bytes], bin_folder: Path, port: int, log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    probe = [bin_folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(probe, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a database in which tests may make schemas; skips where there is none."""
    named = os.environ.get(URL_VARIABLE)
    if named:
        yield make_url(named).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        return
    # Not pytest's folder: that one is closed to the server's own user.
    with tempfile.TemporaryDirectory(prefix="shoal-postgresql-") as folder, private_server(Path(folder)) as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of an empty schema of the test's own, removed at the end: much quicker than a database."""
    name = f"shoal_test_{uuid.uuid4().hex}"
    engine = create_engine(postgresql_server)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        url = make_url(postgresql_server).update_query_dict({"options": f"-csearch_path={name}"})
        yield url.render_as_string(hide_password=False)
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    finally:
        engine.dispose()
