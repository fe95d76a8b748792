import json
import shutil
from pathlib import Path

import pytest

from shoal.workers.encoding.fingerprint import folder_fingerprint

SETTINGS = {"pooling": ["mean"], "max_tokens": 256}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "_name_or_path": "here"}))
    (folder / "model.safetensors").write_bytes(bytes(3 << 20))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_the_same_content_elsewhere_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "config.json").write_text(json.dumps({"_name_or_path": "there", "transformers_version": "9", "hidden_size": 8}))
    (copy / "README.md").write_text("words about it")
    assert folder_fingerprint(copy, SETTINGS) == folder_fingerprint(folder, SETTINGS)
    assert len(folder_fingerprint(folder, SETTINGS)) == 32


@pytest.mark.parametrize("change", ["last weight", "more weights", "tokenizer", "vocabulary", "config", "renamed"])
def test_each_file_that_decides_vectors_counts(folder: Path, change: str) -> None:
    before = folder_fingerprint(folder, SETTINGS)
    match change:
        case "last weight":
            (folder / "model.safetensors").write_bytes(bytes((3 << 20) - 1) + b"\x01")
        case "more weights":
            (folder / "model-2.safetensors").write_bytes(b"")
        case "tokenizer":
            (folder / "tokenizer.json").write_text("{ }")
        case "vocabulary":
            (folder / "vocab.txt").write_text("a")
        case "config":
            (folder / "config.json").write_text(json.dumps({"hidden_size": 9}))
        case "renamed":
            (folder / "tokenizer.json").rename(folder / "tokenizer_config.json")
    assert folder_fingerprint(folder, SETTINGS) != before


def test_settings_count(folder: Path) -> None:
    assert folder_fingerprint(folder, SETTINGS) != folder_fingerprint(folder, {**SETTINGS, "max_tokens": 128})
    assert folder_fingerprint(folder, SETTINGS) == folder_fingerprint(folder, dict(reversed(SETTINGS.items())))


def test_weights_outside_the_folder_count(folder: Path, tmp_path: Path) -> None:
    dense = tmp_path / "2_Dense" / "model.safetensors"
    dense.parent.mkdir()
    seen = [folder_fingerprint(folder, SETTINGS)]
    for content in (b"one", b"two"):
        dense.write_bytes(content)
        seen.append(folder_fingerprint(folder, SETTINGS, [dense]))
    assert len(set(seen)) == 3
