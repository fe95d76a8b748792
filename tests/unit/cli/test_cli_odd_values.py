"""Whatever a user types for an option or an argument, a command answers in one line and never with a traceback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.client.cli import main, session
from shoal.client.cli.application import LazyCommand
from shoal.cluster.jobs.encode import running
from shoal.cluster.jobs.encode.errors import JobError
from shoal.cluster.jobs.encode.job import JobSettings
from shoal.cluster.jobs.word2vec import train_job
from shoal.cluster.serve import commands as serve_commands
from shoal.console import Failure
from shoal.v1 import errors_pb2
from shoal.workers.training.word2vec import TrainingError
from support.gateway.client_server import FakeGateway

REASON = errors_pb2.ERROR_REASON_INVALID_ARGUMENT
NUMBERS = ["nan", "inf", "-inf", "1e999", "-1", "0", "9" * 40, "9" * 5000, "٣", "1_0", "0x10", " 1 ", "1e300"]
TEXTS = ["", " ", "\t\n", " name", "a\nb", "\0", "\x1b[31m", "\ud800", "\udcff", "~nosuchuser/m", "~", "é" * 300, "x" * 5000]
PATHS = [".", "..", "/dev/null/x", "missing/x.npy", "*", "[", "s3:", "://", "nosuch://x", "file://\0", "-"]
ADDRESSES = [":", ":::", "[::1]:x", "host:99999", "host:٣", "a b:1", "unix:", "dns:", "h\0st:1"]
ODD = [*NUMBERS, *TEXTS, *PATHS]
# What an argument is given while another one is tried.
GIVEN = {
    "name": "c",
    "query": "moon",
    "id": "d0",
    "files": "docs.jsonl",
    "inputs": "docs.jsonl",
    "file": "questions.txt",
    "corpus": "corpus.txt",
    "directory": "encoded",
    "output": "out",
    "model": "hashing:8",
    "role": "read",
    "texts": "moon",
    "words": "moon",
}


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command, loaded, with the words that call it."""
    if isinstance(command, LazyCommand):
        command = command.load()
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, (*path, name))


COMMANDS = {" ".join(path): command for path, command in leaves(main) if path != ("demo",)}


def trials(path: str, command: click.Command) -> Iterator[tuple[click.Parameter, Callable[[str], list[str]]]]:
    """Each parameter that takes a value, and the command line with that value."""
    for tried in command.params:
        if isinstance(tried, click.Option) and (tried.is_flag or isinstance(tried.type, click.Choice)):
            continue
        if tried.name in ("address", "timeout", "api_key") and path != "list":
            continue
        before, after = [*path.split()], ["--"]
        for other in command.params:
            if other is tried:
                continue
            if isinstance(other, click.Argument) and other.required:
                after.append(GIVEN[str(other.name)])
            elif isinstance(other, click.Option) and other.required:
                before += [other.opts[0], GIVEN[str(other.name)]]
        if isinstance(tried, click.Option):
            yield tried, lambda value, tried=tried, before=before, after=after: [*before, f"{tried.opts[0]}={value}", *after]
        else:
            position = [one.name for one in command.params if isinstance(one, click.Argument)].index(tried.name) + 1
            yield (
                tried,
                lambda value, position=position, before=before, after=after: [
                    *before,
                    *after[:position],
                    value,
                    *after[position:],
                ],
            )


def values(tried: click.Parameter) -> list[str]:
    """What is typed for a parameter."""
    if tried.name in ("address", "listen", "metrics"):
        return [*TEXTS, *ADDRESSES]
    if isinstance(tried.type, type(click.INT) | type(click.FLOAT)):
        return [*NUMBERS, "", " ", "\0", "\ud800"]
    return ODD


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gateway: FakeGateway) -> Path:
    """A folder with files for all commands. `serve`, `encode` and `train` do nothing once their options are checked."""
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "moon"}\n')
    (tmp_path / "corpus.txt").write_text("moon tides\n")
    (tmp_path / "questions.txt").write_text("a b c d\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOAL_ADDRESS", gateway.address)

    class NoCluster:
        def __init__(self, *_: object) -> None:
            self.error, self.is_up = Failure("settings were read"), threading.Event()

        def run(self) -> None:
            pass

    def no_job(_inputs: object, _output: object, settings: JobSettings, *_: object) -> None:
        raise JobError(f"checked: {running.checked_model_name(settings.model)}")

    def no_training(*_: object) -> None:
        raise TrainingError("settings were checked")

    monkeypatch.setattr(session, "PATIENCE_S", 0.0)
    monkeypatch.setattr(running, "run_job", no_job)
    monkeypatch.setattr(train_job, "run_word2vec", no_training)
    monkeypatch.setattr(serve_commands, "_ClusterThread", NoCluster)
    monkeypatch.setattr(serve_commands, "_stop_on_signals", lambda _: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def one_line(path: str, result: Result, typed: list[str]) -> None:
    assert isinstance(result.exception, SystemExit | None), f"{typed!a}: {result.exception!r}"
    assert result.exit_code in (0, 1, 2), f"{typed!a}: {result.exit_code}"
    if result.exit_code:
        lines = result.stderr.split("\n")
        assert lines.pop() == ""
        if result.exit_code == 2:
            assert lines.pop(0).startswith("Usage: ")
            while not lines[0].startswith("shoal: "):
                lines.pop(0)
        # Commands that read texts may name the bad ones first.
        assert lines[-1].startswith("shoal: ") and lines[-1] != "shoal: ", f"{typed!a}: {result.stderr!r}"
        assert len(lines) == 1 or path in ("add", "embed"), f"{typed!a}: {result.stderr!r}"
        assert all(line.isprintable() for line in lines), f"{typed!a}: {result.stderr!a}"


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_option_and_argument_takes_odd_values(path: str, here: Path) -> None:
    for tried, line in trials(path, COMMANDS[path]):
        for value in values(tried):
            typed = line(value)
            one_line(path, CliRunner().invoke(main, typed), typed)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.characters(codec=None), max_size=20))
def test_any_text_as_a_path_a_model_a_name_or_an_address(value: str, here: Path) -> None:
    for path, start in (("create", ["--model=", "--dimension="]), ("import", ["--rejects="]), ("embed", ["--output="])):
        for tried, line in trials(path, COMMANDS[path]):
            if isinstance(tried, click.Argument) or f"{tried.opts[0]}=" in start:
                typed = line(value.replace("/", "-"))
                one_line(path, CliRunner().invoke(main, typed), typed)


def test_create_without_a_model_says_what_to_give(shoal: Callable[..., Result], gateway: FakeGateway) -> None:
    for options in ([], ["--model", ""]):
        result = shoal("create", "x", *options)
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "shoal: give --model or --dimension")
    assert "x" not in gateway.world.collections


def test_a_value_is_shown_as_it_was(here: Path, shoal: Callable[..., Result], gateway: FakeGateway) -> None:
    message = "collection: ' two  blanks' is not a collection name"
    gateway.fail("GetCollection", grpc.StatusCode.INVALID_ARGUMENT, details=message, reason=REASON)
    assert shoal("show", " two  blanks").stderr == f"shoal: {message}\n"
    assert shoal("add", "c", " docs.jsonl").stderr == "shoal: ' docs.jsonl': no such file or folder\n"
    assert shoal("add", "c", "").stderr == "shoal: '': no such file or folder\n"
    assert "Invalid value for '--rejects': ' ' is not a path" in shoal("add", "c", "x.jsonl", "--rejects", " ").stderr
    assert shoal("--address", " h:1", "list").stderr == "shoal: address ' h:1' is not HOST:PORT\n"
    assert shoal("--address", "", "list").stderr == "shoal: address '' is not HOST:PORT\n"


def test_the_home_of_nobody_is_a_name_like_others(here: Path, shoal: Callable[..., Result], gateway: FakeGateway) -> None:
    assert shoal("create", "x", "--model", "~nosuchuser/m").exit_code == 0
    assert gateway.world.collections["x"].settings.model == "~nosuchuser/m"
    for command in (["similar", "~nosuchuser/m", "moon"], ["eval", "similarity", "~nosuchuser/m", "questions.txt"]):
        result = shoal(*command)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "~nosuchuser/m" in shoal("similar", "~nosuchuser/m", "moon").stderr
