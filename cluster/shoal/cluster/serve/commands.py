"""`shoal serve`: reads the command line and runs a LocalCluster until it is stopped."""

import logging
import signal
import sys
import threading
from pathlib import Path

import click
from rich.console import Console

from shoal.cluster.errors import ClusterError
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.ray_runtime.environment import set_ray_defaults
from shoal.cluster.serve.data_folder import DataFolderError
from shoal.cluster.settings import SettingsError, read_settings
from shoal.console import HELP_SETTINGS, Failure, print_json


@click.command(
    epilog="Example: shoal serve --data ./shoal-data --listen 127.0.0.1:50051",
    context_settings=HELP_SETTINGS,
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file (TOML). Options on the command line override it."
)
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
@click.option("--metrics", metavar="HOST:PORT", help="Address for Prometheus metrics.  [default: none]")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines on stdout.")
def serve(
    config: Path | None,
    data: str | None,
    listen: str | None,
    ledger: str | None,
    storage: str | None,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Run a cluster. Joins the Ray cluster at RAY_ADDRESS, or starts Ray on this machine.

    Ctrl-C or SIGTERM stops it after the calls in flight."""
    set_ray_defaults(normal_priority=True)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    from shoal.cluster.serve.local_cluster import LocalCluster, ServeError

    console = Console(stderr=True)
    stopped = threading.Event()
    try:
        options = {"data": data, "listen": listen, "ledger": ledger, "storage": storage, "metrics": metrics}
        settings = read_settings(config, options)
        with console.status("Starting the cluster ..."):
            cluster = LocalCluster(settings)
    except (SettingsError, DataFolderError, LedgerError, ClusterError, ServeError) as error:
        raise Failure(str(error)) from error
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    try:
        event = {"event": "ready", "address": cluster.address, "data": str(cluster.folder.path)}
        _report(event | ({"metrics": cluster.metrics} if cluster.metrics else {}), as_json)
        # Without a timeout, wait() would keep signal handlers from running.
        while not stopped.wait(0.5):
            pass
    finally:
        with console.status("Stopping after the calls in flight ..."):
            cluster.stop()
    _report({"event": "stopped"}, as_json)


def _report(event: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(event)
    elif event["event"] == "ready":
        metrics = f", metrics at http://{event['metrics']}/metrics" if "metrics" in event else ""
        click.echo(f"Serving at {event['address']}, data in {event['data']}{metrics}. Press Ctrl-C to stop.")
    else:
        click.echo("Stopped.")
