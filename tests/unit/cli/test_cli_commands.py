from collections.abc import Callable
from typing import Any

import click
import grpc
import pytest
from click.testing import CliRunner, Result

from shoal.client import Client, Document
from shoal.client.cli import application, main
from shoal.v1 import documents_pb2, errors_pb2, status_pb2
from support.gateway.client_server import FakeGateway

OWN = ["add", "create", "demo", "describe", "drop", "embed", "explain", "failed", "list", "search", "show", "status"]


def put(gateway: FakeGateway, *texts: str, **payload: Any) -> str:
    with Client(gateway.address) as client:
        return client.upsert("c", [Document(id=f"d{n}", text=text, payload=payload) for n, text in enumerate(texts)])


@pytest.mark.parametrize("command", OWN)
def test_every_command_has_json_and_teaches_by_example(command: str):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "Example" in result.stdout and f"shoal {command}" in result.stdout


def test_the_root_lists_all_commands_without_importing_those_of_others():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert all(f"\n  {command} " in result.stdout for command in [*OWN, "serve", "encode", "train", "eval", "similar"])
    assert "..." not in result.stdout.split("Commands:")[1].split("A first search")[0]


def test_create_show_list_drop(shoal_json: Callable[..., Any]):
    made = shoal_json(
        "create", "x", "--dimension", 3, "--index", "flat", "--metric", "l2", "--shards", 2, "--empty-text", "store"
    )
    assert (made["name"], made["dimension"], made["index"], made["metric"], made["empty_text"]) == (
        "x",
        3,
        "flat",
        "l2",
        "store",
    )
    assert shoal_json("show", "x")["created_at"] == "2023-11-14T22:13:20+00:00"
    assert [info["name"] for info in shoal_json("list")["collections"]] == ["c", "x"]
    assert shoal_json("drop", "x", "--yes") == {"dropped": "x", "documents": 0}


def test_drop_asks(shoal: Callable[..., Result], gateway: FakeGateway):
    put(gateway, "x", "y")
    refused = shoal("drop", "c", input="n\n")
    assert refused.exit_code == 1
    assert "Drop c and its 2 documents?" in refused.stderr and "was not dropped" in refused.stderr
    assert "c" in gateway.world.collections
    assert shoal("drop", "c", input="").exit_code == 1
    assert shoal("drop", "c", input="y\n").stdout == "dropped c and its 2 documents\n"


def test_search_prints_hits_and_how_far_they_can_be_trusted(shoal: Callable[..., Result], gateway: FakeGateway):
    put(gateway, "moon tides [bold]and[/bold] \x1b[31mcolours", "bread", year=2020)
    result = shoal("search", "c", "moon", "-k", 1, "--text")
    assert result.exit_code == 0
    assert "moon tides [bold]and[/bold] [31mcolours" in result.stdout
    assert "searched 2 of 2 documents, no changes pending" in result.stdout
    assert '{"year": 2020}' in shoal("search", "c", "moon", "--payload").stdout


def test_search_in_json(shoal_json: Callable[..., Any], gateway: FakeGateway):
    token = put(gateway, "moon", "bread", year=2020)
    answer = shoal_json("search", "c", "moon", "-k", 1, "--text", "--token", token, "--min-coverage", 0.5)
    assert [(hit["id"], hit["version"], hit["text"], hit["payload"]) for hit in answer["hits"]] == [
        ("d0", 1, "moon", {"year": 2020})
    ]
    assert answer["coverage"]["complete"] is True and answer["coverage"]["fresh"] is True
    assert (gateway.search.requests[-1].token, gateway.search.requests[-1].min_coverage) == ("1.7", 0.5)


def test_explain_status_describe(shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway):
    put(gateway, "moon")
    assert "encoder was busy" in shoal("explain", "c", "d0").stdout
    assert shoal_json("explain", "c", "d0")["generations"][0]["embedded_version"] == 1
    shown = shoal("status").stdout
    assert "hashing; cpu float32; 12 texts waiting for up to 1.5 s; 250 texts/s, 50% busy; restarted 2 times" in shown
    assert "reading weights" in shown
    assert "query cache: 75% of 100 queries hit, 20 entries, 3.0 of 64 MiB" in shown
    pool = next(line.split() for line in shown.splitlines() if line.startswith("hashing "))
    assert pool == ["hashing", "1", "2", "1", "4"]
    status = shoal_json("status")
    assert (status["processes"][0]["kind"], status["processes"][0]["state"]) == ("encoder", "ready")
    assert status["processes"][0]["load"]["oldest_s"] == 1.5
    size = {"min_replicas": 1, "max_replicas": 4, "wanted": 2, "ready": 1}
    assert status["pools"] == [{"model": "hashing", **size, "problem": ""}]
    assert shoal_json("status", "c")["documents"] == 1
    assert (status["problems"], "problem" in shown) == ([], False)
    assert "documents per write" in shoal("describe").stdout
    assert shoal_json("describe")["limits"]["k"] == 1000


def test_failed_documents(shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway):
    gateway.world.collections["c"].failed = [documents_pb2.FailedDocument(id="a", reason="too odd", attempts=5)]
    assert "too odd" in shoal("failed", "c").stdout
    assert [document["id"] for document in shoal_json("failed", "c")["failed"]] == ["a"]
    assert shoal_json("failed", "c", "--retry") == {"retried": 1}
    assert shoal("failed", "c").stdout == "no failed documents in c\n"


def test_a_failure_is_one_line_on_stderr(shoal: Callable[..., Result]):
    for args in (
        ["show", "none"],
        ["search", "none", "x", "--json"],
        ["explain", "c", "none"],
        ["create", "c", "--model", "m"],
    ):
        result = shoal(*args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("shoal: ") and result.stderr.count("\n") == 1


def test_a_failure_names_what_the_server_named(shoal: Callable[..., Result], gateway: FakeGateway):
    gateway.fail(
        "Search",
        grpc.StatusCode.INVALID_ARGUMENT,
        details="k 5000\nis above 1000",
        reason=errors_pb2.ERROR_REASON_INVALID_ARGUMENT,
    )
    assert shoal("search", "c", "x", "-k", 5000).stderr == "shoal: k 5000 is above 1000\n"


@pytest.mark.parametrize(
    "args", [["search"], ["create"], ["nonsense"], ["list", "--nonsense"], ["create", "x", "--index", "tree"]]
)
def test_wrong_usage_is_two(shoal: Callable[..., Result], args: list[str]):
    result = shoal(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    usage, hint, blank, error = result.stderr.splitlines()
    assert usage.startswith("Usage: ") and hint.startswith("Try '") and blank == ""
    assert error.startswith("shoal: ")


@pytest.mark.parametrize("options", [["--address", "nonsense:x"], ["--timeout", "0"]])
def test_options_of_the_connection_are_checked(shoal: Callable[..., Result], options: list[str]):
    result = shoal("list", *options)
    assert result.exit_code == 1
    assert options[0].removeprefix("--") in result.stderr and result.stderr.count("\n") == 1


def test_the_address_may_stand_before_or_after_the_command(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOAL_ADDRESS", "localhost:1")
    assert CliRunner().invoke(main, ["--address", gateway.address, "list"]).exit_code == 0
    assert CliRunner().invoke(main, ["list", "--address", gateway.address]).exit_code == 0
    assert CliRunner().invoke(main, ["--address", "localhost:1", "list", "--address", gateway.address]).exit_code == 0


def test_an_interrupted_command_is_130(shoal: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "list_collections", interrupt)
    result = shoal("list")
    assert result.exit_code == 130
    assert result.stderr.strip() == "shoal: interrupted"


class EntryPoint:
    name, value = "other", "other:command"

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome

    def load(self) -> object:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class EntryPoints(list[EntryPoint]):
    @property
    def names(self) -> set[str]:
        return {entry.name for entry in self}


@click.command()
@click.argument("word")
def other(word: str) -> None:
    click.echo(f"other says {word}")


@click.command()
@click.argument("word")
def lacking(word: str) -> None:
    raise ModuleNotFoundError("No module", name="pyarrow")


@pytest.mark.parametrize(
    ("outcome", "exit_code", "output"),
    [
        (other, 0, "other says hello\n"),
        (
            lacking,
            1,
            "shoal: this command needs the package 'pyarrow', which is not installed: pip install 'shoal[cluster]'\n",
        ),
        (
            ModuleNotFoundError("No module", name="ray"),
            1,
            "shoal: 'other' needs the package 'ray', which is not installed: pip install 'shoal[cluster]'\n",
        ),
        (AttributeError("no attribute 'command'"), 1, "no attribute 'command'"),
        ("text", 1, "is a str"),
    ],
)
def test_commands_of_other_distributions(monkeypatch: pytest.MonkeyPatch, outcome: object, exit_code: int, output: str):
    found = EntryPoints([EntryPoint(outcome)])
    monkeypatch.setattr(application, "entry_points", lambda group, name="other": found if name == "other" else EntryPoints())
    result = CliRunner().invoke(main, ["other", "hello"])
    assert result.exit_code == exit_code
    assert output in result.output and result.output.count("\n") == 1
    listing = CliRunner().invoke(main, ["--help"])
    assert "See 'shoal other --help'." in listing.stdout


def test_status_shows_problems_and_fails(shoal: Callable[..., Result], shoal_json: Callable[..., Any], gateway: FakeGateway):
    gateway.world.problems = [
        status_pb2.Problem(part="ledger", message="/data/ledger.sqlite: its file\nwas deleted", since_ms=1_795_000_000_000)
    ]
    shown = shoal("status")
    assert shown.exit_code == 1
    assert "\nproblem: ledger: /data/ledger.sqlite: its file was deleted, since 2026-11-18 " in shown.stdout
    (problem,) = shoal_json("status", exit_code=1)["problems"]
    assert (problem["part"], problem["since"]) == ("ledger", "2026-11-18T11:06:40+00:00")
