"""`shoal serve` as a child process for the benchmarks, on a folder and a port of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_CACHE = "[query_cache]\nlimit_bytes = 0\n"
"""Settings with which every query is encoded."""


@contextmanager
def served(settings: str = "") -> Iterator[str]:
    """Yields the address of a cluster with these settings (TOML), and ends it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "shoal.toml"
        config.write_text(settings, encoding="utf-8")
        arguments = ["serve", "--data", f"{folder}/data", "--listen", "127.0.0.1:0", "--config", str(config), "--json"]
        server = subprocess.Popen(
            [sys.executable, "-m", "shoal.client.cli", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise SystemExit("the cluster did not start; its reason is above")
            yield str(json.loads(line)["address"])
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
