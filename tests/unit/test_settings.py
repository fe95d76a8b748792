"""Settings from file and command line, and the one-line errors."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from shoal.cluster import settings as settings_module
from shoal.cluster.decisions.processes.scaling import PoolBounds
from shoal.cluster.settings import EncoderSettings, ServeSettings, SettingsError, read_settings, split_listen

UNCOMMENTED = {"encoder", "index", "retry", "query_cache", "longest_pause_s"}


def read(tmp_path: Path, toml: str, **overrides: Any) -> ServeSettings:
    path = tmp_path / "shoal.toml"
    path.write_text(toml, encoding="utf-8")
    return read_settings(path, overrides)


def wrong(tmp_path: Path, toml: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, toml)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_valid() -> None:
    assert read_settings(None, {}) == ServeSettings()


def test_file_then_overrides(tmp_path: Path) -> None:
    toml = 'data = "there"\nlease_s = 20\n[encoder]\nreplicas = 3\ncpus = 1\n[index]\nseal_dead_share = 0.5\n'
    settings = read(tmp_path, toml, data="elsewhere", listen=None, ledger="")
    assert (settings.data, settings.listen, settings.lease_s) == ("elsewhere", "127.0.0.1:50051", 20.0)
    assert (settings.encoder.replicas, settings.encoder.cpus, settings.index.seal_dead_share) == (3, 1.0, 0.5)
    assert isinstance(settings.encoder.cpus, float) and isinstance(settings.lease_s, float)
    assert settings.retry == ServeSettings().retry


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("dat = 1", "dat: there is no such setting; there are access, data, drain_s, encoder, "),
        ("[encoder]\nreplica = 1", "encoder.replica: there is no such setting; there are batch_bytes, "),
        ("[query_cache]\nbytes = 1", "query_cache.bytes: there is no such setting; there are limit_bytes, limit_entries"),
        ("data = 7", "data = 7: must be of type str"),
        ("lease_s = true", "lease_s = True: must be of type float"),
        ("[encoder]\nreplicas = true", "encoder.replicas = True: must be of type int"),
        ("[encoder]\nreplicas = 1.5", "encoder.replicas = 1.5: must be of type int"),
        ('[index]\nworkers = "2"', "index.workers = '2': must be of type int"),
        ("encoder = 3", "encoder = 3: must be a table"),
        ("lease_s = 1" + 400 * "0", "lease_s: a whole number too large for this setting"),
    ],
)
def test_unknown_settings_and_wrong_types_are_named(tmp_path: Path, toml: str, said: str) -> None:
    assert wrong(tmp_path, toml).startswith(said)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("lease_s = 0.5", "lease_s = 0.5: must be between 1 and 3600"),
        ("lease_s = nan", "lease_s = nan: must be between 1 and 3600"),
        ("drain_s = -1", "drain_s = -1.0: must be between 0 and 3600"),
        ("[query_cache]\nlimit_bytes = -1", "query_cache.limit_bytes = -1: must be between 0 and 68719476736"),
        ("[query_cache]\nlimit_entries = -1", "query_cache.limit_entries = -1: must be between 0 and 100000000"),
        ('metrics = "9090"', "metrics = '9090': must be HOST:PORT with a port from 0 to 65535"),
        ("[encoder]\nreplicas = -1", "encoder.replicas = -1: must be between 0 and 1024"),
        ("[encoder]\nmin_replicas = 0", "encoder.min_replicas = 0: must be between 1 and 1024"),
        ("[encoder]\nmin_replicas = 3", "encoder.max_replicas = 1: must be between 3 and 1024"),
        ("[encoder]\nscale_up_s = 0", "encoder.scale_up_s = 0.0: must be between 0.1 and 3600"),
        ("[encoder]\nscale_down_s = 0.5", "encoder.scale_down_s = 0.5: must be between 1 and 86400"),
        (
            "[encoder]\nreplicas = 2\nmax_replicas = 4",
            "encoder.replicas = 2: is a fixed number; leave it out with encoder.min_replicas and encoder.max_replicas",
        ),
        ("[encoder]\nbatch_documents = 5000", "encoder.batch_documents = 5000: must be between 1 and 4096"),
        ("[encoder]\nidle_s = -1", "encoder.idle_s = -1.0: must be between 0 and 2592000"),
        ("[index]\nshards = 257", "index.shards = 257: must be between 1 and 256"),
        ("[index]\nseal_dead_share = 0", "index.seal_dead_share = 0.0: must be between 0.01 and 1.0"),
        ("[index]\nfile_grace_s = -0.1", "index.file_grace_s = -0.1: must be between 0 and 86400"),
        ("[retry]\nfirst_pause_s = 5\nlongest_pause_s = 4", "retry.longest_pause_s = 4.0: must be between 5.0 and 86400"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path: Path, toml: str, said: str) -> None:
    assert wrong(tmp_path, toml) == said


@pytest.mark.parametrize(
    ("toml", "pool"),
    [
        ("", PoolBounds(1, 1)),
        ("replicas = 3", PoolBounds(3, 3)),
        ("max_replicas = 4", PoolBounds(1, 4)),
        ("min_replicas = 2\nmax_replicas = 2", PoolBounds(2, 2)),
    ],
)
def test_the_size_of_a_pool(tmp_path: Path, toml: str, pool: PoolBounds) -> None:
    assert read(tmp_path, f"[encoder]\n{toml}").encoder.pool == pool


def test_threads_follow_the_share_that_is_reserved() -> None:
    assert EncoderSettings().threads_wanted == 0
    assert EncoderSettings(cpus=3.5).threads_wanted == 3
    assert EncoderSettings(cpus=3.5, threads=7).threads_wanted == 7


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(ServeSettings) if field.type is float or field.type == "float"]
)
def test_every_number_at_the_top_has_bounds(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        dataclasses.replace(ServeSettings(), **{name: float("inf")}).validate()


@pytest.mark.parametrize("group", ["encoder", "index", "retry"])
def test_every_number_of_a_group_has_bounds(group: str) -> None:
    whole = ServeSettings()
    part = getattr(whole, group)
    for field in dataclasses.fields(part):
        bad = dataclasses.replace(part, **{field.name: -1})
        with pytest.raises(SettingsError, match=rf"^{group}\.{field.name} = -1: must be between"):
            dataclasses.replace(whole, **{group: bad}).validate()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^settings file .*nothing\.toml: No such file or directory$"):
        read_settings(tmp_path / "nothing.toml", {})
    with pytest.raises(SettingsError, match="Is a directory"):
        read_settings(tmp_path, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"binary\.toml: "):
        read_settings(tmp_path / "binary.toml", {})


@pytest.mark.parametrize("toml", ["data = ", "lease_s = 1" + 5000 * "0"])
def test_a_file_that_is_not_toml(tmp_path: Path, toml: str) -> None:
    assert wrong(tmp_path, toml).startswith(f"settings file {tmp_path / 'shoal.toml'}: ")


@pytest.mark.parametrize(
    ("listen", "parts"), [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:65535", ("::1", 65535)), ("host:080", ("host", 80))]
)
def test_listen_is_host_and_port(listen: str, parts: tuple[str, int]) -> None:
    assert split_listen(listen) == parts


@pytest.mark.parametrize(
    "listen", ["", "host", ":1", "host:", "host:x", "host:65536", "host:-1", "host:²", "host:" + 5000 * "1"]
)
def test_malformed_listen_addresses(tmp_path: Path, listen: str) -> None:
    with pytest.raises(SettingsError, match=r"must be HOST:PORT with a port from 0 to 65535$"):
        read_settings(None, {"listen": listen})


def test_every_setting_is_documented() -> None:
    tree = ast.parse(inspect.getsource(settings_module))
    for part in (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")):
        for field, following in zip(part.body, [*part.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                assert documented or field.target.id in UNCOMMENTED, f"{part.name}.{field.target.id}"


def test_who_may_call_is_open_or_needs_keys(tmp_path: Path) -> None:
    assert wrong(tmp_path, 'access = "public"') == "access = 'public': must be one of open, keys"
