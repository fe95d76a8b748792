"""The root command: finds commands, and turns failures into an exit code and one line on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from shoal.client.cli.collections import create, drop, list_, show
from shoal.client.cli.demo.demo import demo
from shoal.client.cli.documents import explain, failed
from shoal.client.cli.embed import embed
from shoal.client.cli.files.importing import import_
from shoal.client.cli.files.ingest import add
from shoal.client.cli.keys import key
from shoal.client.cli.search import search
from shoal.client.cli.session import Defaults
from shoal.client.cli.status import describe, status
from shoal.client.errors import ShoalError
from shoal.console import FAILED, HELP_SETTINGS, INTERRUPTED, Failure, print_error, show_error

ENTRY_POINTS = "shoal.commands"
# Printing help must not import the commands, so the summaries of Shoal's own are here.
SUMMARIES = {
    "serve": "Start a server, on this machine or on a Ray cluster.",
    "encode": "Embed a whole corpus into Parquet files.",
    "train": "Train word vectors on your own text.",
    "eval": "Score word vectors and embedding models.",
    "similar": "Print the words most similar to given words.",
}

EPILOG = """\b
A first search:
  shoal demo

\b
With documents of your own:
  shoal serve --data ./data          (in another terminal)
  shoal create papers --model all-MiniLM-L6-v2
  shoal add papers papers.jsonl
  shoal search papers 'tidal locking'

\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. An error is one line on stderr: "shoal: ...".
"""


class LazyCommand(click.Command):
    """A command of an entry point, imported only when it is called."""

    def __init__(self, entry_point: EntryPoint) -> None:
        name = entry_point.name
        super().__init__(name, short_help=SUMMARIES.get(name, f"See 'shoal {name} --help'."))
        self._entry_point = entry_point

    def load(self) -> click.Command:
        """The command itself; raises Failure if a package that it needs is not installed."""
        try:
            command = self._entry_point.load()
        except ModuleNotFoundError as error:
            raise _lacking(f"'{self.name}'", error) from error
        except (ImportError, AttributeError) as error:
            raise Failure(f"'{self.name}' cannot be loaded: {error}; try: pip install 'shoal[cluster]'") from error
        if not isinstance(command, click.Command):
            raise Failure(f"'{self.name}' is not a command: {self._entry_point.value} is a {type(command).__name__}")
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return self.load().make_context(info_name, args, parent, **extra)


class Application(click.Group):
    """The client's commands and those of entry points; every failure ends with its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=ENTRY_POINTS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = list(entry_points(group=ENTRY_POINTS, name=cmd_name))
        return LazyCommand(found[0]) if found else None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command line and exits: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
        try:
            # Click has an overload for each mode; this passes on another mode than its own.
            code: Any = super().main(args, prog_name or "shoal", complete_var, False, windows_expand_args, **extra)  # type: ignore[call-overload]
        except click.ClickException as error:
            show_error(error)
            sys.exit(error.exit_code)
        except ShoalError as error:
            print_error(str(error))
            sys.exit(FAILED)
        except click.Abort as error:
            unanswered = isinstance(error.__context__, EOFError)
            print_error("no answer to the question" if unanswered else "interrupted")
            sys.exit(FAILED if unanswered else INTERRUPTED)
        except ModuleNotFoundError as error:
            # A command may import what it needs only when it runs.
            _lacking("this command", error).show()
            sys.exit(FAILED)
        except BrokenPipeError:
            # The reader of a pipe has seen enough (`shoal list | head`); Python would complain again at its own exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except OSError as error:
            print_error(f"{error.filename or 'system'}: {error.strerror or error}")
            sys.exit(FAILED)
        # Click returns the code of `ctx.exit`, and what the command returned otherwise.
        sys.exit(code if isinstance(code, int) else 0)


def _lacking(who: str, error: ModuleNotFoundError) -> Failure:
    return Failure(f"{who} needs the package {error.name!r}, which is not installed: pip install 'shoal[cluster]'")


@click.group(cls=Application, context_settings=HELP_SETTINGS, epilog=EPILOG)
@click.version_option(package_name="shoal", prog_name="shoal")
@click.option("--address", help="Address of the server.", metavar="HOST:PORT")
@click.option("--timeout", type=float, help="Time limit of each call.", metavar="SECONDS")
@click.option("--api-key", help="API key for a server that needs one.", metavar="KEY")
@click.pass_context
def main(ctx: click.Context, address: str | None, timeout: float | None, api_key: str | None) -> None:
    """Search documents by meaning, with answers that never rest on a stale vector without saying so."""
    ctx.obj = Defaults(address, timeout, api_key)


for command in (add, create, demo, describe, drop, embed, explain, failed, import_, key, list_, search, show, status):
    main.add_command(command)
