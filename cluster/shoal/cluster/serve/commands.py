"""`shoal serve`: reads the command line and runs a LocalCluster until it is stopped."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from shoal.cluster.errors import ClusterError
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.ray_runtime.environment import set_ray_defaults
from shoal.cluster.serve.data_folder import DataFolderError
from shoal.cluster.settings import ACCESS, ServeSettings, SettingsError, read_settings
from shoal.console import HELP_SETTINGS, Failure, FilePath, print_error, print_json

if TYPE_CHECKING:
    from shoal.cluster.serve.local_cluster import LocalCluster

SIGNAL_POLL_S = 0.2
RESET_S = 0.005
PROBLEMS_EVERY_S = 1.0


@click.command(
    epilog="Example: shoal serve --data ./shoal-data --listen 127.0.0.1:50051",
    context_settings=HELP_SETTINGS,
)
@click.option("--config", type=FilePath(), help="Settings file (TOML). Options on the command line override it.")
@click.option("--data", help="Data folder: ledger, secret and vectors.  [default: shoal-data]")
@click.option(
    "--listen", metavar="HOST:PORT", help="Address for clients; port 0 takes a free port.  [default: 127.0.0.1:50051]"
)
@click.option(
    "--ledger", metavar="URL", help="Ledger database, such as postgresql://user@host/db.  [default: SQLite in --data]"
)
@click.option(
    "--storage", metavar="URI", help="Where vectors are stored, such as s3://bucket/x.  [default: a folder in --data]"
)
@click.option(
    "--access",
    type=click.Choice(ACCESS),
    help="Who may call: open is everybody who reaches the address, keys is whoever sends an API key.  [default: open]",
)
@click.option("--metrics", metavar="HOST:PORT", help="Address for Prometheus metrics.  [default: none]")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on stdout.")
def serve(
    config: Path | None,
    data: str | None,
    listen: str | None,
    ledger: str | None,
    storage: str | None,
    access: str | None,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Run a cluster. Joins the Ray cluster at RAY_ADDRESS, or starts Ray on this machine.

    Ctrl-C or SIGTERM stops it after the calls in flight."""
    # First of all: a service manager may stop what it has just started.
    stopped = threading.Event()
    _stop_on_signals(stopped)
    set_ray_defaults(normal_priority=True)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    options = {"data": data, "listen": listen, "ledger": ledger, "storage": storage, "access": access}
    options["metrics"] = metrics
    try:
        settings = read_settings(config, options)
    except SettingsError as error:
        raise Failure(str(error)) from error
    cluster = _ClusterThread(settings, stopped, as_json)
    thread = threading.Thread(target=cluster.run, name="cluster")
    thread.start()
    while thread.is_alive():
        # Without a timeout, join() would keep signal handlers from running. When Ray's core starts, it installs a handler
        # that prints a traceback, so the handlers are set again until the cluster is up.
        thread.join(SIGNAL_POLL_S if cluster.is_up.is_set() else RESET_S)
        if not cluster.is_up.is_set():
            _stop_on_signals(stopped)
    if cluster.error is not None:
        raise cluster.error


def _stop_on_signals(stopped: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())


class _ClusterThread:
    """The cluster from start to stop, in a thread other than the main one.

    In the main thread Ray would install its own SIGTERM handler, which exits at once. Ray's processes die with the thread
    that started them, so the same thread stops them.
    """

    def __init__(self, settings: ServeSettings, stopped: threading.Event, as_json: bool) -> None:
        self.error: BaseException | None = None
        self.is_up = threading.Event()
        self._settings = settings
        self._stopped = stopped
        self._as_json = as_json
        self._messages = Console(stderr=True, highlight=False, soft_wrap=True)

    def run(self) -> None:
        """Serves until `stopped` is set. An exception is in `error` afterwards."""
        try:
            self._serve()
        except BaseException as error:  # The main thread raises it; a thread would swallow SystemExit.
            self.error = error

    def _serve(self) -> None:
        self._report("Loading Shoal ...")
        from shoal.cluster.serve.local_cluster import LocalCluster, ServeError, StartCancelled

        try:
            with self._messages.status("Starting the cluster ..."):
                cluster = LocalCluster(self._settings, self._report, self._stopped.is_set)
        except StartCancelled:
            _print_event({"event": "stopped"}, self._as_json)
            return
        except (DataFolderError, LedgerError, ClusterError, ServeError) as error:
            raise Failure(str(error)) from error
        self.is_up.set()
        try:
            event = {"event": "ready", "address": cluster.address, "data": str(cluster.folder.path)}
            _print_event(event | ({"metrics": cluster.metrics} if cluster.metrics else {}), self._as_json)
            self._report_problems(cluster)
        finally:
            with self._messages.status("Stopping after the calls in flight ..."):
                cluster.stop()
        _print_event({"event": "stopped"}, self._as_json)

    def _report_problems(self, cluster: LocalCluster) -> None:
        """Prints what goes wrong and what is solved again, until the cluster is to stop."""
        shown: list[str] = []
        while not self._stopped.wait(PROBLEMS_EVERY_S):
            found = cluster.problems()
            if found != shown:
                if self._as_json:
                    print_json({"event": "problems", "problems": found})
                else:
                    for problem in found:
                        if problem not in shown:
                            print_error(problem)
                    for problem in shown:
                        if problem not in found:
                            self._messages.print(f"Solved: {problem}", markup=False)
            shown = found

    def _report(self, stage: str) -> None:
        """Prints a stage of the start, unless the reader is a script."""
        if not self._as_json:
            self._messages.print(stage, markup=False)


def _print_event(event: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(event)
    elif event["event"] == "ready":
        metrics = f", metrics at http://{event['metrics']}/metrics" if "metrics" in event else ""
        click.echo(f"Serving at {event['address']}, data in {event['data']}{metrics}. Press Ctrl-C to stop.")
    else:
        click.echo("Stopped.")
